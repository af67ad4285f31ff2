//! From a request of HTTP to a call, and back.

use crate::access;
use crate::answer::Answer;
use crate::budget::Budget;
use crate::call::Facts;
use crate::caller::Caller;
use crate::dialects::{self, Call, Dialect};
use crate::fault::{Fault, FaultKind};
use crate::metrics::Metrics;
use crate::models::Models;
use crate::routes::{self, Found, Method as RouteMethod};
use crate::settings::Settings;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(120);

/// Bytes of a body to a token, about.
const BYTES_PER_TOKEN: f64 = 4.0;

/// How long a client waits for an answer, as it says: openai's in seconds, and our own.
const TIMEOUTS: [(&str, f64); 2] = [("x-stainless-read-timeout", 1.0), ("x-timeout-ms", 1e-3)];

/// The page asks this server and nobody else.
const PAGE_MAY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:";

/// What all requests share.
pub(crate) struct App {
    pub(crate) models: Models,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    #[cfg(feature = "otel")]
    pub(crate) traces: Option<crate::traces::Traces>,
    /// What each key may still have; `None` where there is no limit.
    pub(crate) budgets: Vec<Option<Budget>>,
    /// Whether the server ends: nothing new is begun.
    pub(crate) draining: AtomicBool,
    pub(crate) next_id: AtomicU64,
    /// Tells ids of this process from another's.
    pub(crate) id_prefix: String,
}

/// Answers a request.
pub(crate) async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let begun = Instant::now();
    let id = request_id(&app, request.headers());
    app.metrics.in_flight.inc();
    let _in_flight = Leaving(&app);
    let wants_body = request.method() != Method::HEAD;
    let line =
        app.settings.log.then(|| json!({"method": request.method().as_str(), "path": request.uri().path()}));
    #[cfg(feature = "otel")]
    let of_trace = app.traces.as_ref().map(|traces| {
        (traces, request.method().clone(), request.uri().path().to_owned(), request.headers().clone())
    });
    let mut dialect = Dialect::Shared;
    // A panic of the server's own code is this request's alone.
    let result = AssertUnwindSafe(respond(&app, request, &id, &mut dialect)).catch_unwind().await;
    let result = result.unwrap_or_else(|_| Err(Fault::internal("the server panicked; please report it")));
    let name = format!("{dialect:?}").to_lowercase();
    let facts = result.as_ref().ok().and_then(|answer| answer.facts);
    let problem = result.as_ref().err().map(|fault| fault.message.clone());
    let mut response = match result {
        Ok(answer) => {
            app.metrics.answered(&name, answer.facts.as_ref(), begun.elapsed());
            accepted(answer, begun)
        }
        Err(fault) => {
            app.metrics.refused(&name, &fault);
            refused(dialect, &fault, &id)
        }
    };
    set(response.headers_mut(), "x-request-id", &id);
    #[cfg(feature = "otel")]
    if let Some((traces, method, path, headers)) = of_trace.filter(|_| facts.is_some() || problem.is_some()) {
        traces.record(&crate::traces::Answered {
            method: method.as_str(),
            path: &path,
            headers: &headers,
            dialect: &name,
            id: &id,
            status: response.status().as_u16(),
            facts,
            problem: problem.as_deref(),
            taken: begun.elapsed(),
        });
    }
    if let Some(mut line) = line {
        line["id"] = id.into();
        line["dialect"] = name.into();
        line["status"] = response.status().as_u16().into();
        line["seconds"] = begun.elapsed().as_secs_f64().into();
        log(line, facts, problem);
    }
    if !wants_body {
        *response.body_mut() = Body::empty();
    }
    response
}

/// Writes a request's line.
fn log(mut line: Value, facts: Option<Facts>, problem: Option<String>) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    line["time"] = since.as_secs_f64().into();
    if let Some(facts) = facts {
        line["texts"] = facts.texts.into();
        line["tokens"] = facts.tokens.into();
        line["truncated"] = facts.truncated.into();
    }
    if let Some(problem) = problem {
        line["problem"] = problem.into();
    }
    eprintln!("{line}");
}

/// Counts a request that ends, however it does.
struct Leaving<'a>(&'a App);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.metrics.in_flight.dec();
    }
}

async fn respond(app: &App, request: Request, id: &str, dialect: &mut Dialect) -> Result<Answer, Fault> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let is_get = parts.method == Method::GET || parts.method == Method::HEAD;
    if is_get && let Some(answer) = health(app, path).await {
        return answer;
    }
    let method = match parts.method {
        Method::POST => Some(RouteMethod::Post),
        Method::GET | Method::HEAD => Some(RouteMethod::Get),
        _ => None,
    };
    let found = routes::find(method, path);
    *dialect = match &found {
        Found::Route { dialect, .. } | Found::WrongMethod(dialect) | Found::Nothing(dialect) => *dialect,
    };
    let key = access::key(&app.settings.keys, &parts.headers, parts.uri.query());
    let key = key.ok_or_else(|| {
        Fault::new(
            FaultKind::Unauthorized,
            "the request has no valid API key: send it as `Authorization: Bearer KEY`",
        )
    })?;
    if is_get && let Some(answer) = of_server(app, path, &parts.headers) {
        return Ok(answer);
    }
    let (operation, rest) = match found {
        Found::Route { operation, rest, .. } => (operation, rest),
        Found::WrongMethod(_) => {
            let message = format!("{path} does not take {}", parts.method);
            return Err(Fault::new(FaultKind::WrongMethod, message));
        }
        Found::Nothing(_) => {
            return Err(Fault::new(FaultKind::NoSuchRoute, format!("there is nothing at {path}")));
        }
    };
    if app.draining.load(Ordering::Relaxed) && !is_get {
        let soon = Duration::from_secs(1);
        return Err(Fault::new(FaultKind::Overloaded(soon), "the server is ending: try again soon"));
    }
    // The number of a key counts from 1, and is 0 where there are none.
    let budget = app.budgets.get(key.saturating_sub(1)).and_then(Option::as_ref).filter(|_| !is_get);
    if let Some(wait) = budget.and_then(Budget::wait) {
        let message = format!(
            "the key has had its tokens of a minute; try again in {:.0} s",
            wait.as_secs_f64().ceil()
        );
        return Err(Fault::new(FaultKind::Overloaded(wait), message));
    }
    let body = read(body, &parts.headers, app.settings.largest_body).await?;
    // What it will take is guessed, so that many at once do not pass for one.
    let mut charge = Charge { budget, tokens: body.len() as f64 / BYTES_PER_TOKEN };
    charge.take();
    let call = Call {
        models: &app.models,
        settings: &app.settings,
        caller: Caller { key, deadline: deadline(&parts.headers) },
        dialect: *dialect,
        id,
        rest: &rest,
        is_google: parts.headers.contains_key("x-goog-api-client"),
        body: &body,
    };
    let answer = dialects::answer(operation, &call).await;
    charge.correct(answer.as_ref().ok().and_then(|answer| answer.facts).map_or(0, |facts| facts.tokens));
    answer
}

/// What a request takes of its key's budget. It is given back if the request ends without an answer.
struct Charge<'b> {
    budget: Option<&'b Budget>,
    tokens: f64,
}

impl Charge<'_> {
    fn take(&self) {
        if let Some(budget) = self.budget {
            budget.take(self.tokens);
        }
    }

    /// It was so many in truth.
    fn correct(&mut self, tokens: usize) {
        if let Some(budget) = self.budget.take() {
            budget.take(tokens as f64 - self.tokens);
        }
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.correct(0);
    }
}

/// Whether the process lives, and whether it can serve.
async fn health(app: &App, path: &str) -> Option<Result<Answer, Fault>> {
    match path {
        "/health/live" | "/ping" => Some(Ok(Answer::text("ok"))),
        "/health" | "/health/ready" | "/ready" => {
            let is_ready = app.models.are_ready() && !app.draining.load(Ordering::Relaxed);
            Some(match is_ready {
                true => Ok(Answer::text("ok")),
                false => Err(Fault::new(
                    FaultKind::NotReady,
                    "the models are not open yet, or the server is ending",
                )),
            })
        }
        _ => None,
    }
}

/// What the server says of itself.
fn of_server(app: &App, path: &str, headers: &HeaderMap) -> Option<Answer> {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match path {
        "/metrics" => {
            let tokens = app.models.open().map(|open| open.schedule.tokens()).sum();
            let text = app.metrics.text(tokens);
            Some(Answer { body: text, content_type: "text/plain; version=0.0.4; charset=utf-8", facts: None })
        }
        "/" if accepted.contains("text/html") => {
            let body = include_bytes!("page.html").to_vec();
            Some(Answer { body, content_type: "text/html; charset=utf-8", facts: None })
        }
        "/openapi.json" => Some(Answer::json(&crate::openapi::document())),
        // Ollama's clients look for these words, and TEI's for a success.
        "/" | "/ollama" | "/ollama/" => Some(Answer::text("Ollama is running")),
        _ => None,
    }
}

/// The whole body.
async fn read(body: Body, headers: &HeaderMap, most: usize) -> Result<Bytes, Fault> {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    if let Some(encoding) = encoding.filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        let message = format!("the body is encoded as {encoding}; send it as it is");
        return Err(Fault::new(FaultKind::Encoding, message));
    }
    let too_large = || {
        Fault::new(
            FaultKind::BodyTooLarge,
            format!("the body has more than the {most} bytes that are taken; send less at once"),
        )
    };
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let whole = tokio::time::timeout(BODY_TIME, Limited::new(body, most).collect()).await;
    match whole {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Fault::body(format!("the body broke off: {error}"))),
        Err(_) => Err(Fault::new(FaultKind::Late, "the body took too long to come")),
    }
}

fn deadline(headers: &HeaderMap) -> Option<Instant> {
    let seconds = TIMEOUTS.iter().find_map(|(name, factor)| {
        let value: f64 = headers.get(*name)?.to_str().ok()?.parse().ok()?;
        Some(value * factor)
    })?;
    // What is no time is none that could be over.
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())?;
    Instant::now().checked_add(time)
}

/// The caller's id, if it is one that a header can repeat, or else one of ours.
fn request_id(app: &App, headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    match given.filter(|id| !id.is_empty() && id.len() <= 200) {
        Some(id) => id.to_owned(),
        None => format!("{}-{:x}", app.id_prefix, app.next_id.fetch_add(1, Ordering::Relaxed)),
    }
}

fn accepted(answer: Answer, begun: Instant) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if answer.content_type.starts_with("text/html") {
        set(headers, "content-security-policy", PAGE_MAY);
    }
    if let Some(Facts { tokens, truncated, waited, computed, mended, .. }) = answer.facts {
        let milliseconds = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1e3);
        set(headers, "x-compute-tokens", &tokens.to_string());
        set(headers, "x-total-time", &milliseconds(begun.elapsed()));
        set(headers, "x-queue-time", &milliseconds(waited));
        set(headers, "x-inference-time", &milliseconds(computed));
        if truncated > 0 {
            set(headers, "x-truncated", &truncated.to_string());
        }
        if mended > 0 {
            set(headers, "x-replaced-characters", &mended.to_string());
        }
    }
    response
}

fn refused(dialect: Dialect, fault: &Fault, id: &str) -> Response {
    let (status, body) = dialects::refusal(dialect, fault, id);
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match fault.kind {
        FaultKind::Overloaded(after) => {
            set(headers, "retry-after", &after.as_secs_f64().ceil().to_string());
            set(headers, "retry-after-ms", &after.as_millis().to_string());
        }
        FaultKind::Unauthorized => set(headers, "www-authenticate", "Bearer"),
        _ => {}
    }
    if fault.is_permanent() {
        set(headers, "x-should-retry", "false");
    }
    set(headers, "x-error-message", &fault.message);
    response
}

/// Sets a header, if its value can be one.
fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let shown: String =
        value.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(400).collect();
    if let Ok(value) = HeaderValue::from_str(&shown) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
