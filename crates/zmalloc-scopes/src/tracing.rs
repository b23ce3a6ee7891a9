//! Spans of tracing as scopes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id};
use tracing_core::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use zmalloc::Scope;
use zmalloc::scope::{self, Entered};

/// A layer that enters a scope wherever a span is entered.
///
/// A span's scope is named by the span and lies within that of the nearest span around it that has one. Spans of the
/// same path share a scope, which is kept as long as the layer, so that it shows what all of them did:
///
/// ```
/// use tracing_subscriber::layer::SubscriberExt;
/// use zmalloc_scopes::tracing::SpanScopes;
///
/// let spans = SpanScopes::new();
/// let subscriber = tracing_subscriber::registry().with(spans.clone());
/// tracing::subscriber::with_default(subscriber, || {
///     let _request = tracing::info_span!("request").entered();
///     let _render = tracing::info_span!("render").entered();
/// });
/// assert_eq!(spans.scope("request/render").unwrap().figures().own.entered, 1);
/// ```
///
/// A span may be entered on several threads at once, several times, and be left in any order: each entry of each thread
/// is left by itself. Futures with a span (`Instrument`) enter it for each poll, and so the scope.
///
/// One such layer for a subscriber: a second one takes the place of the first.
///
/// # Its own memory
///
/// What the layer allocates for a span, it allocates and frees [outside](scope::outside) of every scope. What the
/// registry and other layers do counts where the thread is when they are called: in the span around a new span, for
/// example; formatting a line of a log in the span that logs.
///
/// # Cost
///
/// For each entry that of a scope and of the registry's look-up of the span; for a new span, a lock that all share and a
/// few allocations.
#[derive(Clone)]
pub struct SpanScopes {
    filter: Arc<dyn Fn(&Metadata<'_>) -> bool + Send + Sync>,
    fields: &'static [&'static str],
    parent: Option<Scope>,
    /// By path, below `parent`.
    made: Arc<Mutex<BTreeMap<String, Scope>>>,
}

impl SpanScopes {
    /// Every span becomes a scope, by its name.
    pub fn new() -> SpanScopes {
        SpanScopes { filter: Arc::new(|_| true), fields: &[], parent: None, made: Arc::default() }
    }

    /// Only spans for which this is true. What happens in others counts in the nearest span around them that has a scope.
    #[must_use]
    pub fn with_filter(self, filter: impl Fn(&Metadata<'_>) -> bool + Send + Sync + 'static) -> SpanScopes {
        SpanScopes { filter: Arc::new(filter), ..self }
    }

    /// These fields are part of the name, if a span has them when it is made: `request{tenant=42}`.
    ///
    /// There is a scope for each value ever seen: take fields of few values, not the number of a request.
    #[must_use]
    pub fn with_fields(self, fields: &'static [&'static str]) -> SpanScopes {
        SpanScopes { fields, ..self }
    }

    /// The scopes of spans without a span around them lie in this one.
    #[must_use]
    pub fn within(self, parent: &Scope) -> SpanScopes {
        SpanScopes { parent: Some(parent.clone()), ..self }
    }

    /// The scope of spans of this path, their names with slashes between, if there was one: to read it or to limit it.
    pub fn scope(&self, path: &str) -> Option<Scope> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn scope_of(&self, attributes: &Attributes<'_>, around: Option<&OfSpan>) -> OfSpan {
        let mut path = around.map_or_else(String::new, |around| format!("{}/", around.path));
        let start = path.len();
        path.push_str(attributes.metadata().name());
        attributes.record(&mut Named { name: &mut path, fields: self.fields, any: false });
        if path.len() > start + attributes.metadata().name().len() {
            path.push('}');
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let scope = made.get(&path).cloned().unwrap_or_else(|| {
            let name = path[start..].to_owned();
            let parent = around.map(|around| &around.scope).or(self.parent.as_ref());
            let scope = parent.map_or_else(|| Scope::new(name.clone()), |parent| parent.child(name.clone()));
            made.insert(path.clone(), scope.clone());
            scope
        });
        OfSpan { scope, path }
    }

    /// Which layer an entry is of: threads may be under several subscribers, which number spans by themselves.
    fn number(&self) -> usize {
        Arc::as_ptr(&self.made).addr()
    }
}

impl Default for SpanScopes {
    fn default() -> SpanScopes {
        SpanScopes::new()
    }
}

impl fmt::Debug for SpanScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanScopes").field("fields", &self.fields).field("parent", &self.parent).finish_non_exhaustive()
    }
}

/// What the layer keeps with a span.
struct OfSpan {
    scope: Scope,
    path: String,
}

/// One entry of the thread.
struct Entry {
    layer: usize,
    span: u64,
    entered: Entered,
}

std::thread_local! {
    static ENTRIES: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

impl<S> Layer<S> for SpanScopes
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !(self.filter)(attributes.metadata()) {
            return;
        }
        scope::outside(|| {
            let Some(span) = context.span(id) else { return };
            let around = span.scope().skip(1).find(|span| span.extensions().get::<OfSpan>().is_some());
            let of_span = match &around {
                Some(around) => self.scope_of(attributes, around.extensions().get::<OfSpan>()),
                None => self.scope_of(attributes, None),
            };
            span.extensions_mut().replace(of_span);
        });
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let Some(scope) = span.extensions().get::<OfSpan>().map(|of_span| of_span.scope.clone()) else { return };
        // At the very end of a thread there is no list any more: its destructors stay where they are.
        let _ = ENTRIES.try_with(|entries| {
            let mut entries = entries.borrow_mut();
            if entries.len() == entries.capacity() {
                scope::outside(|| entries.reserve(8));
            }
            entries.push(Entry { layer: self.number(), span: id.into_u64(), entered: scope.entered() });
        });
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        let entered = ENTRIES.try_with(|entries| {
            let mut entries = entries.borrow_mut();
            let of_span = |entry: &Entry| entry.layer == self.number() && entry.span == id.into_u64();
            let at = entries.iter().rposition(of_span)?;
            Some(entries.remove(at).entered)
        });
        drop(entered);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        scope::outside(|| {
            if let Some(span) = context.span(&id) {
                drop(span.extensions_mut().remove::<OfSpan>());
            }
        });
    }
}

/// Writes fields after a span's name.
struct Named<'name> {
    name: &'name mut String,
    fields: &'static [&'static str],
    any: bool,
}

impl Visit for Named<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.fields.contains(&field.name()) {
            let before = if std::mem::replace(&mut self.any, true) { ' ' } else { '{' };
            write!(self.name, "{before}{}={value:?}", field.name()).expect("a string takes all");
        }
    }
}
