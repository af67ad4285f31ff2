//! Traces of requests, to a collector of OpenTelemetry: a span for each request, and within it one of waiting and one of computing.
//! The collector, and what else OpenTelemetry lets one choose, is named by its own variables: OTEL_EXPORTER_OTLP_ENDPOINT and so on.

use crate::call::Facts;
use crate::error::ServerError;
use axum::http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use std::io::Read;
use std::time::{Duration, SystemTime};

/// Variables that name a collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// How long a collector may take, and how much it may say.
const LONGEST: Duration = Duration::from_secs(10);
const LARGEST: u64 = 1 << 20;

/// Where traces go.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// A request that was answered.
pub(crate) struct Answered<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) dialect: &'a str,
    pub(crate) id: &'a str,
    pub(crate) status: u16,
    pub(crate) facts: Option<Facts>,
    pub(crate) problem: Option<&'a str>,
    pub(crate) taken: Duration,
}

impl Traces {
    /// Traces to the collector that the environment names, if it names one.
    pub(crate) fn of_environment() -> Result<Option<Traces>, ServerError> {
        if !ENDPOINTS.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
            return Ok(None);
        }
        let client = Client(ureq::AgentBuilder::new().timeout(LONGEST).build());
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build();
        let exporter = exporter
            .map_err(|e| ServerError::SetUp(format!("traces cannot be sent to {}: {e}", ENDPOINTS[0])))?;
        let resource = Resource::builder().with_service_name("taskvec").build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer("taskvec");
        Ok(Some(Traces { provider, tracer }))
    }

    /// Records a request. Sending is another thread's.
    pub(crate) fn record(&self, request: &Answered<'_>) {
        let end = SystemTime::now();
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(request.headers));
        let mut attributes = vec![
            KeyValue::new("http.request.method", request.method.to_owned()),
            KeyValue::new("url.path", request.path.to_owned()),
            KeyValue::new("http.response.status_code", i64::from(request.status)),
            KeyValue::new("taskvec.dialect", request.dialect.to_owned()),
            KeyValue::new("taskvec.request_id", request.id.to_owned()),
        ];
        if let Some(facts) = request.facts {
            attributes.push(KeyValue::new("taskvec.texts", facts.texts as i64));
            attributes.push(KeyValue::new("taskvec.tokens", facts.tokens as i64));
            attributes.push(KeyValue::new("taskvec.truncated_texts", facts.truncated as i64));
        }
        let span = self.tracer.span_builder(format!("{} {}", request.method, request.path));
        let span =
            span.with_kind(SpanKind::Server).with_start_time(end - request.taken).with_attributes(attributes);
        let mut span = self.tracer.build_with_context(span, &parent);
        if let Some(problem) = request.problem.filter(|_| request.status >= 500) {
            span.set_status(Status::error(problem.to_owned()));
        }
        let within = parent.with_span(span);
        if let Some(facts) = request.facts {
            // What comes after computing is short.
            let begun = end - facts.computed;
            self.part(&within, "wait", begun - facts.waited, begun);
            self.part(&within, "compute", begun, end);
        }
        within.span().end_with_timestamp(end);
    }

    fn part(&self, within: &Context, name: &'static str, from: SystemTime, to: SystemTime) {
        let span = self.tracer.span_builder(name).with_start_time(from);
        self.tracer.build_with_context(span, within).end_with_timestamp(to);
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        let _ = self.provider.shutdown(); // what cannot be sent now never will be
    }
}

/// Sends over HTTP/1.1.
#[derive(Debug)]
struct Client(ureq::Agent);

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The exporter has a thread of its own for this, which may wait.
        let mut sent = self.0.post(&request.uri().to_string());
        for (name, value) in request.headers() {
            sent = sent.set(name.as_str(), value.to_str()?);
        }
        let answer = match sent.send_bytes(request.body()) {
            Ok(answer) | Err(ureq::Error::Status(_, answer)) => answer,
            Err(error) => return Err(error.into()),
        };
        let status = answer.status();
        let mut body = Vec::new();
        answer.into_reader().take(LARGEST).read_to_end(&mut body)?;
        Ok(Response::builder().status(status).body(body.into())?)
    }
}
