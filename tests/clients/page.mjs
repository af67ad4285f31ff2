// The playground in Chromium: page.mjs URL FOLDER. It clicks and types through the page, and leaves pictures in FOLDER.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [url, folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
try {
  for (const [name, options] of [
    ["light", { viewport: { width: 1200, height: 900 }, colorScheme: "light" }],
    ["dark", { viewport: { width: 1200, height: 900 }, colorScheme: "dark" }],
    ["phone", { viewport: { width: 390, height: 844 }, colorScheme: "light" }],
  ]) {
    const page = await browser.newPage(options);
    const asked = [], said = [];
    page.on("request", request => asked.push(new URL(request.url()).origin));
    page.on("console", message => said.push(message.text()));
    page.on("pageerror", error => said.push(String(error)));
    await page.goto(url);
    await page.waitForFunction(() => document.querySelectorAll("#heat-b td").length === 16);
    await page.waitForFunction(() => document.querySelectorAll("#found-bare li").length === 5);
    await page.waitForFunction(() => document.querySelectorAll("#tokens code").length > 3);

    // Each text is most like itself, and two tasks give other cosines.
    await page.selectOption("#task-a", "retrieval-query");
    await page.selectOption("#task-b", "retrieval-document");
    await page.waitForFunction(() => document.querySelector("#heat-a tbody").textContent !== document.querySelector("#heat-b tbody").textContent);
    const cosines = id => page.$$eval(`#${id} td`, cells => cells.map(cell => cell.textContent));
    const [a, b] = [await cosines("heat-a"), await cosines("heat-b")];
    for (let i = 0; i < 4; i++) assert.equal(a[5 * i], "1.00");
    assert.notDeepEqual(a, b, "the tasks make a difference");
    await page.selectOption("#task-b", "retrieval-query");
    await page.waitForFunction(() => document.querySelector("#heat-a tbody").textContent === document.querySelector("#heat-b tbody").textContent);

    // What is typed is searched for; the keyboard is enough.
    await page.locator("#lines").focus();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "query");
    await page.locator("#lines").fill("the first document\na cat by the river\ntea is made of leaves");
    await page.locator("#query").fill("a cat by the river");
    await page.waitForFunction(() => document.querySelectorAll("#found-bare li").length === 3);
    await page.waitForFunction(() => document.querySelector("#found-bare li").textContent === "1.000a cat by the river");

    // The prompt is seen, and so is what is pooled.
    await page.selectOption("#task-c", "retrieval-document");
    await page.waitForFunction(() => document.querySelector("#said-explain").textContent.includes("passage: "));
    assert.ok(await page.locator("#tokens .pooled").count() > 0);
    await page.selectOption("#task-c", "");
    await page.waitForFunction(() => document.querySelector("#said-explain").textContent.includes("no prompt"));

    // What is wrong is said.
    await page.locator("#texts").fill("word ".repeat(3));
    await page.waitForFunction(() => document.querySelectorAll("#heat-a td").length === 1);
    assert.deepEqual([...new Set(asked)], [new URL(url).origin], "nobody else is asked");
    assert.deepEqual(said, []);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= options.viewport.width, `${name} is ${width} wide`);
    await page.reload();
    await page.waitForFunction(() => document.querySelectorAll("#tokens code").length > 3);
    if (folder) await page.screenshot({ path: `${folder}/playground-${name}.png`, fullPage: true });
    await page.close();
  }
} finally {
  await browser.close();
}
