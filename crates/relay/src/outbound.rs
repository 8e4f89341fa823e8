//! The sending side of a connection, as the edge sees it.

use std::sync::{Arc, Weak};

use towpath_deliver::{Commit, Item, Outbox, ShortWay};
use towpath_gateway::{Close, Frame, Origin, SendNow};

/// Hands over what its outbox has. Dropped when the socket is gone.
pub(crate) struct Outbound(pub(crate) Arc<Outbox>);

impl Drop for Outbound {
    fn drop(&mut self) {
        self.0.discard();
    }
}

impl towpath_gateway::Outbound for Outbound {
    async fn ready(&self) {
        self.0.ready().await;
    }

    fn take(&self, bytes_max: usize, mut taker: impl FnMut(Frame<'_>)) -> Option<Close> {
        let mut items = Vec::new();
        let close = self.0.take(bytes_max, |item| items.push(item));
        // They may be compressed, and others want to use the outbox meanwhile.
        items.iter().for_each(|item| taker(frame(item)));
        close.map(|close| Close::new(close.code, close.reason))
    }

    fn sent(&self, bytes: usize) -> bool {
        self.0.sent(bytes)
    }

    fn left(&self, bytes: usize) {
        self.0.left(bytes);
    }

    fn attach(&self, wire: Weak<dyn SendNow>) {
        self.0.attach(Box::new(ToWire(wire)));
    }
}

/// A socket, as its outbox sees it.
struct ToWire(Weak<dyn SendNow>);

impl ShortWay for ToWire {
    fn send_now(&self, bytes_max: usize) -> bool {
        self.0.upgrade().is_some_and(|wire| wire.send_now(bytes_max))
    }

    fn send_event(&self, head: &str, json: &[u8], commit: Option<Commit>, is_next: &dyn Fn() -> bool) -> bool {
        self.0.upgrade().is_some_and(|wire| wire.send_frame(&event(head, json, commit), is_next))
    }
}

fn frame(item: &Item) -> Frame<'_> {
    match item {
        Item::Text(text) | Item::Word { text, .. } => Frame::Text(text),
        Item::Event { subscription, json, commit } => event(subscription.head(), json, *commit),
    }
}

fn event<'a>(head: &'a str, json: &'a [u8], commit: Option<Commit>) -> Frame<'a> {
    let origin = commit.map(|Commit { at, here }| Origin { at, here });
    Frame::Event { head: head.as_bytes(), json, origin }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use towpath_deliver::{Budget, Metrics};
    use towpath_gateway::Outbound as _;
    use towpath_runtime::{Clock, SystemClock};

    use super::*;

    /// Takes the frame that it is asked to send, if it is next.
    #[derive(Default)]
    struct Wire(Mutex<Vec<String>>);

    impl SendNow for Wire {
        fn send_now(&self, bytes_max: usize) -> bool {
            bytes_max == 7
        }

        fn send_frame(&self, frame: &Frame<'_>, is_next: &dyn Fn() -> bool) -> bool {
            let Frame::Event { head, json, origin } = frame else { panic!("a text") };
            let text = [*head, *json].map(String::from_utf8_lossy).concat();
            is_next() && {
                self.0.lock().push(format!("{text} {}", origin.is_some_and(|origin| origin.here)));
                true
            }
        }
    }

    #[test]
    fn an_outbox_reaches_its_socket_for_as_long_as_that_is_open() {
        let wire = Arc::new(Wire::default());
        let weak: Weak<dyn SendNow> = Arc::downgrade(&(Arc::clone(&wire) as Arc<dyn SendNow>));
        let way = ToWire(weak);
        let commit = Some(Commit { at: SystemClock.instant(), here: true });
        assert!((way.send_now(7), way.send_now(8)) == (true, false), "its answer is passed on");
        assert!(way.send_event("[", b"{}", commit, &|| true));
        assert!(way.send_event("[", b"{}", None, &|| true));
        assert!(!way.send_event("[", b"{}", commit, &|| false));
        assert_eq!(*wire.0.lock(), ["[{} true", "[{} false"]);
        drop(wire);
        assert!(!way.send_now(7) && !way.send_event("[", b"{}", commit, &|| true));
    }

    #[test]
    fn what_a_socket_leaves_is_counted_until_it_is_sent() {
        let metrics = Metrics::default();
        let outbound = Outbound(Arc::new(Outbox::new(Arc::new(Budget::new(1_000, 1_000, 1, metrics.clone())))));
        outbound.left(30);
        outbound.sent(10);
        assert_eq!(metrics.queued_bytes.get(), 20);
        outbound.left(30);
        drop(outbound);
        assert_eq!(metrics.queued_bytes.get(), 0);
    }
}
