use opentelemetry_sdk::trace::{InMemorySpanExporter, SpanData};
use tracing::info_span;

use super::*;
use crate::{current_traceparent, set_parent, traceparent_of};

/// Runs `work` with spans going to memory and returns what left.
fn exported(work: impl FnOnce()) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let subscriber = tracing_subscriber::registry().with(spans_layer(&provider));
    tracing::subscriber::with_default(subscriber, work);
    provider.force_flush().unwrap();
    exporter.get_finished_spans().unwrap()
}

fn field(span: &SpanData, name: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key.as_str() == name)?;
    Some(attribute.value.to_string())
}

#[test]
fn a_span_leaves_with_its_fields() {
    let spans = exported(|| {
        info_span!("attempt", compose_id = "Test-1-20260101.0", job = 7, attempt = 2, arch = "s390x").in_scope(|| {});
    });
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].name, "attempt");
    assert_eq!(field(&spans[0], crate::field::COMPOSE_ID).as_deref(), Some("Test-1-20260101.0"));
    assert_eq!(field(&spans[0], crate::field::JOB).as_deref(), Some("7"));
    assert_eq!(field(&spans[0], crate::field::ATTEMPT).as_deref(), Some("2"));
    assert_eq!(field(&spans[0], crate::field::ARCH).as_deref(), Some("s390x"));
}

#[test]
fn the_exporters_own_spans_stay_here() {
    let spans = exported(|| {
        info_span!(target: "h2::client", "connection").in_scope(|| {});
        tracing::debug_span!("detail").in_scope(|| {});
    });
    assert!(spans.is_empty());
}

#[test]
fn a_message_carries_the_trace() {
    let mut sent = None;
    let spans = exported(|| {
        info_span!("controller").in_scope(|| sent = current_traceparent());
        let worker = info_span!("worker");
        assert!(set_parent(&worker, sent.as_deref().unwrap()));
        worker.in_scope(|| {});
        assert_eq!(&traceparent_of(&worker).unwrap()[..35], &sent.as_deref().unwrap()[..35]);
    });
    let [controller, worker] = &spans[..] else { panic!("two spans, not {}", spans.len()) };
    assert_eq!(worker.parent_span_id, controller.span_context.span_id());
    assert_eq!(worker.span_context.trace_id(), controller.span_context.trace_id());
    let text = format!("00-{}-{}-01", controller.span_context.trace_id(), controller.span_context.span_id());
    assert_eq!(sent, Some(text));
}

#[test]
fn a_text_that_is_no_traceparent_changes_nothing() {
    exported(|| {
        let span = info_span!("job");
        for text in ["", "x", &"0".repeat(55), &"é".repeat(55), &"a".repeat(1 << 20)] {
            assert!(!set_parent(&span, text), "{text:.60}");
        }
        let zero = "00-00000000000000000000000000000000-0000000000000000-01";
        assert!(!set_parent(&span, zero));
    });
}

#[test]
fn without_export_there_is_no_context() {
    assert_eq!(current_traceparent(), None);
    assert!(!set_parent(&info_span!("job"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
}

#[test]
fn a_wrong_filter_is_named() {
    let options = TelemetryOptions { log_filter: "tutti=loud".to_owned(), ..TelemetryOptions::default() };
    let error = init(&options).unwrap_err();
    assert!(error.to_string().contains("\"tutti=loud\""), "{error}");
}

#[test]
fn export_needs_a_runtime() {
    let options = TelemetryOptions { otlp_endpoint: Some("http://127.0.0.1:1".to_owned()), ..Default::default() };
    assert!(matches!(init(&options), Err(InitError::NoRuntime)));
}
