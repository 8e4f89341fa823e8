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
