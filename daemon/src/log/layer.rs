//! The `tracing` layer that turns events into lines.

use std::{error::Error as StdError, fmt, sync::Arc};

use serde_json::Value;
use time::OffsetDateTime;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    Format, Level, Shared,
    line::{Fields, Line},
};
use crate::supervisor::chain;

/// Writes every event at or above the level in force.
#[derive(Debug)]
pub struct LogLayer {
    shared: Arc<Shared>,
    format: Format,
    source_location: bool,
}

impl LogLayer {
    pub(super) fn new(shared: Arc<Shared>, format: Format, source_location: bool) -> Self {
        Self {
            shared,
            format,
            source_location,
        }
    }

    fn is_wanted(&self, metadata: &Metadata<'_>) -> bool {
        let level = Level::from(metadata.level());
        level <= self.shared.level().min(ceiling(metadata.target()))
    }
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Spans carry fields for the events within them, whatever their own level.
        if metadata.is_span() && !is_library(metadata.target()) || self.is_wanted(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_span() && !is_library(metadata.target()) || self.is_wanted(metadata)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut collected = Collected::default();
        attributes.record(&mut collected);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(collected);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(collected) = span.extensions_mut().get_mut::<Collected>()
        {
            values.record(collected);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut collected = Collected::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            if let Some(around) = span.extensions().get::<Collected>() {
                collected.fields.extend(around.fields.clone());
            }
        }
        event.record(&mut collected);
        let metadata = event.metadata();
        let source = self.source_location.then(|| {
            let file = metadata.file().unwrap_or_default();
            let line = metadata.line().unwrap_or_default();
            (metadata.target(), format!("{file}:{line}"))
        });
        let line = Line {
            time: OffsetDateTime::now_utc(),
            level: Level::from(metadata.level()),
            message: &collected.message,
            source,
            fields: &collected.fields,
        };
        self.shared.sink.write(&line.render(self.format));
    }
}

/// Crates that log through `tracing` and are not ours.
fn is_library(target: &str) -> bool {
    ceiling(target) < Level::Trace
}

/// The most talkative level that a crate is heard at.
fn ceiling(target: &str) -> Level {
    match target.split("::").next().unwrap_or_default() {
        // Warns of every message that an absent member did not get; the store tells that once.
        "openraft" => Level::Error,
        "h2" | "hyper" | "hyper_util" | "mio" | "rustls" | "tokio" | "tokio_util" | "tonic"
        | "tower" => Level::Warn,
        _ => Level::Trace,
    }
}

/// The members of the JSON object in this field are fields of the line: for lines whose fields are
/// not known when the program is compiled.
const SPREAD: &str = "spread_fields";

#[derive(Debug, Default)]
struct Collected {
    message: String,
    fields: Fields,
}

impl Collected {
    fn spread(&mut self, object: &str) {
        if let Ok(Value::Object(fields)) = serde_json::from_str(object) {
            self.fields.extend(fields);
        }
    }

    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Collected {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.insert(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            SPREAD => self.spread(value),
            _ => self.insert(field, value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn StdError + 'static)) {
        self.insert(field, chain(value));
    }
}
