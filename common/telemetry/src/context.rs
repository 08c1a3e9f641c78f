//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>, level 1): the `traceparent` text of a message.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const TRACEPARENT: &str = "traceparent";
/// `00-` trace id `-` span id `-` flags: longer texts belong to versions that are not read here.
const TRACEPARENT_LENGTH: usize = 55;

/// Returns the `traceparent` of the current span; none where no spans are exported.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

/// Returns the `traceparent` of a span; none where no spans are exported.
#[must_use]
pub fn traceparent_of(span: &Span) -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span` a child of the span that a message names; returns false, and does nothing, for a text that is not a
/// `traceparent` or when spans are not exported. Must be called before the span is first entered.
pub fn set_parent(span: &Span, traceparent: &str) -> bool {
    if traceparent.len() != TRACEPARENT_LENGTH {
        return false;
    }
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let parent = TraceContextPropagator::new().extract(&carrier);
    parent.span().span_context().is_valid() && span.set_parent(parent).is_ok()
}
