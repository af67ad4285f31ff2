// Node's clients, held against the vectors that come on standard input. talk.py starts it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const { url, key, texts, plain, query, document, bare, scores } = JSON.parse(readFileSync(0, "utf8"));

function same(found, want, what) {
  assert.equal(found.length, want.length, what);
  for (let i = 0; i < want.length; i++) {
    assert.equal(found[i].length, want[i].length, what);
    for (let k = 0; k < want[i].length; k++) assert.equal(Math.fround(found[i][k]), Math.fround(want[i][k]), `${what} ${i} ${k}`);
  }
}

async function openai() {
  const { default: OpenAI, AuthenticationError, BadRequestError } = await import("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
  // Without encoding_format it asks for base64, and decodes without looking.
  const answer = await client.embeddings.create({ model: "m", input: texts });
  same(answer.data.map((one) => one.embedding), plain, "openai");
  const task = await client.embeddings.create({ model: "bert-e5@query", input: texts, encoding_format: "float" });
  same(task.data.map((one) => one.embedding), query, "openai, a task in the name");
  await assert.rejects(client.embeddings.create({ model: "m", input: ["word ".repeat(5000)] }), BadRequestError);
  const wrong = new OpenAI({ baseURL: `${url}/v1`, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(wrong.embeddings.create({ model: "m", input: "a" }), AuthenticationError);
}

async function cohere() {
  const { CohereClientV2 } = await import("cohere-ai");
  const client = new CohereClientV2({ token: key, environment: url });
  const answer = await client.embed({ model: "bert-e5", texts, inputType: "search_query", embeddingTypes: ["float"] });
  same(answer.embeddings.float, query, "cohere");
  const ranked = await client.rerank({ model: "reranker-bert", query: texts[0], documents: texts.slice(1, 3) });
  for (const one of ranked.results) assert.ok(Math.abs(one.relevanceScore - scores[one.index]) < 1e-6);
}

async function google() {
  const { GoogleGenAI } = await import("@google/genai");
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
  const answer = await client.models.embedContent({ model: "bert-e5", contents: texts, config: { taskType: "RETRIEVAL_DOCUMENT" } });
  same(answer.embeddings.map((one) => one.values), document, "google");
}

async function ollama() {
  const { Ollama } = await import("ollama");
  const client = new Ollama({ host: url, headers: { Authorization: `Bearer ${key}` } });
  same((await client.embed({ model: "bert-e5", input: texts })).embeddings, plain, "ollama");
  assert.equal((await client.list()).models[0].name, "bert-e5:latest");
}

async function mistral() {
  const { Mistral } = await import("@mistralai/mistralai");
  const client = new Mistral({ apiKey: key, serverURL: url });
  const answer = await client.embeddings.create({ model: "bert-e5", inputs: texts });
  same(answer.data.map((one) => one.embedding), plain, "mistral");
}

async function huggingFace() {
  const { InferenceClient } = await import("@huggingface/inference");
  const client = new InferenceClient(key, { endpointUrl: url });
  same([(await client.featureExtraction({ inputs: texts[0] })).flat(3)], bare.slice(0, 1), "hugging face");
}

async function voyage() {
  const { VoyageAIClient } = await import("voyageai");
  const client = new VoyageAIClient({ apiKey: key, environment: `${url}/v1` });
  const answer = await client.embed({ input: texts, model: "bert-e5", inputType: "query" });
  same(answer.data.map((one) => one.embedding), query, "voyage");
}

const failed = [];
for (const talk of [openai, cohere, google, ollama, mistral, huggingFace, voyage]) {
  try {
    await talk();
    console.log(`  ${talk.name}: as the command`);
  } catch (error) {
    console.log(`  ${talk.name}: ${error?.stack ?? error}`.slice(0, 1500));
    failed.push(talk.name);
  }
}
assert.deepEqual(failed, []);
