//! Messages that do not come to an end, and what all of them together may hold.

use std::time::Duration;

use towpath_gateway::Config;

use crate::support::{Client, Edge, config, frame, soon};

const TOTAL: usize = 1 << 20;
const HALF: usize = 200_000;

/// Waits until as much is held as `wanted` says.
async fn held(edge: &Edge, wanted: impl Fn(i64) -> bool) {
    soon(async {
        while !wanted(edge.metrics.unfinished_bytes.get()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Sends half a message and asks whether it was taken: `None` is yes, else how the connection ended.
async fn half_a_message(client: &mut Client) -> Option<(u16, String)> {
    client.raw(&[frame(0x01, &[b'a'; HALF]), frame(0x89, b"")].concat()).await;
    let got = client.get().await;
    let refused = got.first == 0x88;
    refused.then(|| (u16::from_be_bytes([got.body[0], got.body[1]]), String::from_utf8_lossy(&got.body[2..]).into()))
}

#[tokio::test]
async fn half_sent_messages_have_a_total_and_who_sends_little_is_served_beyond_it() {
    let edge = Edge::with(Config { inbound_total_bytes_max: TOTAL, ..config() });
    let mut ordinary = edge.client().await;
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        let mut client = edge.client().await;
        match half_a_message(&mut client).await {
            None => taken.push(client),
            Some(end) => refused.push(end),
        }
        assert!(edge.metrics.unfinished_bytes.get() <= TOTAL as i64);
    }
    assert!(taken.len() >= 2, "{} fit", taken.len());
    assert!(refused.len() >= 12 - TOTAL / HALF, "{refused:?}");
    let expected = "try again later: the relay holds too many unfinished messages";
    assert!(refused.iter().all(|(code, reason)| *code == 1013 && reason == expected), "{refused:?}");

    let mut late = edge.client().await;
    for client in [&mut ordinary, &mut late] {
        client.send(0x01, &[b'b'; 30_000]).await;
        client.send(0x80, b"!").await;
        assert_eq!(client.get_text().await.len(), 30_001);
        client.text(&"c".repeat(30_000)).await;
        assert_eq!(client.get_text().await.len(), 30_000);
    }

    let mut first = taken.remove(0);
    first.send(0x80, b"!").await;
    assert_eq!(first.get_text().await.len(), HALF + 1);
    held(&edge, |bytes| bytes <= (TOTAL - HALF) as i64).await;
    assert_eq!(half_a_message(&mut late).await, None);

    drop((taken, first, late));
    held(&edge, |bytes| bytes == 0).await;
    ordinary.text("still here").await;
    assert_eq!(ordinary.get_text().await, "still here");
}

#[tokio::test]
async fn who_is_refused_or_cut_off_holds_nothing() {
    let edge = Edge::with(Config { message_bytes_max: 300_000, ..config() });
    let mut too_big = edge.client().await;
    assert_eq!(half_a_message(&mut too_big).await, None);
    let mut silent = edge.client().await;
    assert_eq!(half_a_message(&mut silent).await, None);
    held(&edge, |bytes| bytes >= 2 * HALF as i64).await;
    too_big.send(0x80, &[b'a'; HALF]).await;
    assert_eq!(too_big.get_close().await.0, 1009);
    held(&edge, |bytes| (HALF as i64..2 * HALF as i64).contains(&bytes)).await;
    drop(silent);
    held(&edge, |bytes| bytes == 0).await;
}
