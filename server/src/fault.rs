//! `Fault`: this node cannot go on.

use std::error::Error;
use std::fmt;
use tokio::sync::watch;

/// A local failure that another node need not share: disk, corruption, host memory, a broken invariant. Nobody
/// handles it: it goes up, is logged once and stops the node. A client is never answered from it.
#[derive(Debug)]
pub struct Fault {
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    pub fn new(what: impl Into<String>) -> Fault {
        Fault { what: what.into(), source: None }
    }

    /// `what` says what was attempted, in lower case and without its cause.
    pub fn because(what: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Fault {
        Fault { what: what.into(), source: Some(source.into()) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// An error with all its causes on one line, for the places that print it.
pub fn chain(error: &dyn Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    // Some libraries draw pictures in their messages.
    causes.join(": ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Carries the first fault of a node from wherever it happened to whoever stops the node.
#[derive(Clone, Debug)]
pub struct Alarm(watch::Sender<Option<String>>);

impl Default for Alarm {
    fn default() -> Alarm {
        Alarm(watch::Sender::new(None))
    }
}

impl Alarm {
    /// Logs the fault and has the node stopped.
    pub fn raise(&self, fault: &Fault) {
        let message = chain(fault);
        tracing::error!(error = message, "this node cannot go on");
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(message);
            }
            is_first
        });
    }

    /// The first fault, if there was one.
    pub fn first(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits for the first fault.
    pub async fn raised(&self) -> String {
        let mut receiver = self.0.subscribe();
        let fault = receiver.wait_for(Option::is_some).await.ok().and_then(|fault| fault.clone());
        match fault {
            Some(fault) => fault,
            // `self` holds the sender, so the channel cannot close meanwhile.
            None => std::future::pending().await,
        }
    }
}
