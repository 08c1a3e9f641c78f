//! Tracing set-up, OTLP export and trace context.
