//! Trace context as text: what goes into a message's headers and comes out of them.
//!
//! The form is W3C's `traceparent`: <https://www.w3.org/TR/trace-context/>. Where traces are not sent, a span has no
//! context, and nothing here does anything.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const FIELD: &str = "traceparent";

/// The current span's context, for what is written within it.
#[must_use]
pub fn traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

/// A span's context.
#[must_use]
pub fn traceparent_of(span: &Span) -> Option<String> {
    let mut field = Field(None);
    TraceContextPropagator::new().inject_context(&span.context(), &mut field);
    field.0
}

/// Makes a span, not entered yet, a child of what wrote this text. Text that cannot be read leaves it as it is: it comes
/// from outside and is no error. Returns whether it is a child now.
pub fn set_parent(span: &Span, traceparent: Option<&str>) -> bool {
    let context = traceparent.and_then(read);
    context.is_some_and(|context| span.set_parent(Context::new().with_remote_span_context(context)).is_ok())
}

/// Links a span to what wrote this text: for work over several messages, each of which has a trace of its own.
pub fn link(span: &Span, traceparent: Option<&str>) {
    if let Some(context) = traceparent.and_then(read) {
        span.add_link(context);
    }
}

fn read(traceparent: &str) -> Option<SpanContext> {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Field(Some(traceparent.into())));
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

/// A carrier of one field.
struct Field(Option<String>);

impl Injector for Field {
    fn set(&mut self, key: &str, value: String) {
        if key == FIELD {
            self.0 = Some(value);
        }
    }
}

impl Extractor for Field {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.as_deref().filter(|_| key == FIELD)
    }

    fn keys(&self) -> Vec<&str> {
        vec![FIELD]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
    use tracing_subscriber::Layer;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const REMOTE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    #[test]
    fn a_trace_goes_on_from_text_to_text() {
        let exporter = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(vec![layer.with_filter(LevelFilter::INFO).boxed()]);
        tracing::subscriber::with_default(subscriber, || {
            let child = tracing::info_span!("child");
            assert!(set_parent(&child, Some(REMOTE)));
            let written = child.in_scope(traceparent).unwrap();
            assert_eq!((&written[..36], &written[52..]), (&REMOTE[..36], "-01"));
            assert_ne!(written[36..52], REMOTE[36..52]);
            let grandchild = tracing::info_span!("grandchild");
            assert!(set_parent(&grandchild, Some(&written)));
            link(&grandchild, Some(REMOTE));
            assert!(!set_parent(&child, Some(REMOTE)), "it has begun");
            for wrong in
                [None, Some(""), Some("00-0-0-01"), Some("00-00000000000000000000000000000000-b7ad6b7169203331-01")]
            {
                let span = tracing::info_span!("alone");
                assert!(!set_parent(&span, wrong), "{wrong:?}");
                link(&span, wrong);
                assert_ne!(traceparent_of(&span).unwrap()[3..35], REMOTE[3..35]);
            }
            assert_eq!(traceparent_of(&tracing::debug_span!("filtered out")), None);
        });
        let spans = exporter.0.lock().unwrap();
        let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
        let (child, grandchild) = (find("child"), find("grandchild"));
        assert_eq!(child.parent_span_id.to_string(), REMOTE[36..52]);
        assert_eq!(grandchild.parent_span_id, child.span_context.span_id());
        assert_eq!(grandchild.span_context.trace_id(), child.span_context.trace_id());
        assert_eq!(grandchild.links.links[0].span_context.span_id().to_string(), REMOTE[36..52]);
        assert_eq!(find("alone").links.links.len(), 0);
    }

    #[test]
    fn without_traces_there_is_no_context() {
        assert_eq!(traceparent(), None);
        assert!(!set_parent(&tracing::info_span!("nowhere"), Some(REMOTE)));
    }
}
