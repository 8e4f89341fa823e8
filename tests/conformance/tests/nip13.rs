//! NIP-13: proof of work, where the relay asks for it.

use towpath_conformance::*;

const EIGHT_BITS: &str = "[limits]\npow_bits_min = 8";

#[tokio::test]
async fn an_event_with_enough_work_is_accepted() -> Result<()> {
    let (_relay, mut client) = relay_with(EIGHT_BITS).await?;
    client.store(&note("mined").mine(8)).await?;
    client.store(&note("mined deeper").mine(11)).await
}

#[tokio::test]
async fn an_event_without_work_is_refused() -> Result<()> {
    let (_relay, mut client) = relay_with(EIGHT_BITS).await?;
    let idle = (0..)
        .map(|number: u32| note(&number.to_string()).sign())
        .find(|event| !event.id.starts_with("00"))
        .context("every event is lucky")?;
    expect_refusal(&mut client, &idle, "pow").await?;
    expect_stored(&mut client, &idle, false).await
}

#[tokio::test]
async fn work_is_counted_in_bits() -> Result<()> {
    let (_relay, mut client) = relay_with("[limits]\npow_bits_min = 6").await?;
    let with_bits = |digits: [&str; 2]| {
        (0_u64..)
            .map(|nonce| note("bits").tag(["nonce", &nonce.to_string(), "6"]).sign())
            .find(|event| digits.iter().any(|digits| event.id.starts_with(digits)))
    };
    let five = with_bits(["04", "07"]).context("no such nonce")?;
    expect_refusal(&mut client, &five, "pow").await?;
    let six = with_bits(["02", "03"]).context("no such nonce")?;
    client.store(&six).await
}

#[tokio::test]
async fn luck_beyond_the_committed_target_does_not_count() -> Result<()> {
    let (_relay, mut client) = relay_with(EIGHT_BITS).await?;
    let lucky = note("lucky").mine_committing_to(8, 4);
    expect_refusal(&mut client, &lucky, "pow").await
}

#[tokio::test]
async fn a_promise_without_the_work_does_not_count() -> Result<()> {
    let (_relay, mut client) = relay_with(EIGHT_BITS).await?;
    let boast = (0_u64..)
        .map(|nonce| note("boast").tag(["nonce", &nonce.to_string(), "20"]).sign())
        .find(|event| !event.id.starts_with("00"))
        .context("every event is lucky")?;
    expect_refusal(&mut client, &boast, "pow").await
}

#[tokio::test]
async fn by_default_no_work_is_asked_for() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("idle").sign()).await?;
    client.store(&note("lucky").mine_committing_to(4, 1)).await
}
