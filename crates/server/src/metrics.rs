//! What is counted, for Prometheus. Names are text-embeddings-inference's where they mean the same, so that its dashboards work.

use crate::call::Facts;
use crate::fault::{Fault, FaultKind};
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use std::time::Duration;

/// Counters, histograms and gauges. They are there from the start, so that a dashboard finds them before the first request.
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    successes: IntCounterVec,
    failures: IntCounterVec,
    texts: IntCounter,
    tokens: IntCounter,
    truncated: IntCounter,
    mended: IntCounter,
    by_dialect: IntCounterVec,
    duration: Histogram,
    queue_duration: Histogram,
    inference_duration: Histogram,
    input_length: Histogram,
    queue_tokens: IntGauge,
    pub(crate) in_flight: IntGauge,
}

const FAILURES: [&str; 5] = ["overloaded", "validation", "model_type", "inference", "dropped"];

impl Metrics {
    pub(crate) fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let add = |collector: Box<dyn prometheus::core::Collector>| registry.register(collector);
        let counters = |name: &str, help: &str, label: &str, values: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            values.iter().for_each(|value| drop(counters.with_label_values(&[value])));
            add(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            add(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            add(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let histogram = |name: &str, help: &str, start: f64, factor: f64, count: usize| {
            let buckets = prometheus::exponential_buckets(start, factor, count)?;
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            add(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        Ok(Metrics {
            requests: counters("te_request_count", "Requests", "method", &["single", "batch"])?,
            successes: counters(
                "te_request_success",
                "Requests that were answered",
                "method",
                &["single", "batch"],
            )?,
            failures: counters("te_request_failure", "Requests that were not", "err", &FAILURES)?,
            texts: counter("te_embed_count", "Texts")?,
            tokens: counter("taskvec_tokens", "Tokens that models saw")?,
            truncated: counter("taskvec_truncated_texts", "Texts of which a part was cut off")?,
            mended: counter("taskvec_replaced_characters", "Characters of texts that were none")?,
            by_dialect: counters("taskvec_requests", "Requests by whose words they were in", "dialect", &[])?,
            duration: histogram("te_request_duration", "Seconds of a request", 1e-4, 1.5, 36)?,
            queue_duration: histogram("te_request_queue_duration", "Seconds that it waited", 1e-4, 1.5, 36)?,
            inference_duration: histogram(
                "te_request_inference_duration",
                "Seconds of computing",
                1e-4,
                1.5,
                36,
            )?,
            input_length: histogram("te_request_input_length", "Tokens of a request", 1.0, 2.0, 24)?,
            queue_tokens: gauge("te_queue_size", "Tokens that wait, about")?,
            in_flight: gauge("taskvec_requests_in_flight", "Requests under way")?,
            registry,
        })
    }

    /// A request was answered.
    pub(crate) fn answered(&self, dialect: &str, facts: Option<&Facts>, taken: Duration) {
        self.by_dialect.with_label_values(&[dialect]).inc();
        let Some(facts) = facts else { return };
        let method = if facts.texts == 1 { "single" } else { "batch" };
        self.requests.with_label_values(&[method]).inc();
        self.successes.with_label_values(&[method]).inc();
        self.texts.inc_by(facts.texts as u64);
        self.tokens.inc_by(facts.tokens as u64);
        self.truncated.inc_by(facts.truncated as u64);
        self.mended.inc_by(facts.mended as u64);
        self.duration.observe(taken.as_secs_f64());
        self.queue_duration.observe(facts.waited.as_secs_f64());
        self.inference_duration.observe(facts.computed.as_secs_f64());
        self.input_length.observe(facts.tokens as f64);
    }

    /// A request was refused.
    pub(crate) fn refused(&self, dialect: &str, fault: &Fault) {
        self.by_dialect.with_label_values(&[dialect]).inc();
        let failure = match fault.kind {
            FaultKind::Overloaded(_) => "overloaded",
            FaultKind::Lost | FaultKind::Internal => "inference",
            FaultKind::Unsupported => "model_type",
            FaultKind::Late => "dropped",
            _ => "validation",
        };
        self.failures.with_label_values(&[failure]).inc();
    }

    /// All of them, as Prometheus reads them.
    pub(crate) fn text(&self, queue_tokens: u64) -> Vec<u8> {
        self.queue_tokens.set(queue_tokens as i64);
        let mut text = Vec::new();
        // Writing into memory does not fail, and what would be left out is counters.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}
