//! The audit log as clients and witnesses see it: checkpoints as events, checkpoints, tiles and proofs over HTTP.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use towpath_audit::{Checkpoint, Hash, Head, ProofFile, Tree, check_consistency, is_signed_by};
use towpath_conformance::*;
use towpath_protocol::{PublicKey, Verifier};

/// Checkpoints as often as can be.
const QUICK: &str = "[audit]\ncheckpoint_leaves = 1\nok_carries_place = true\n";

async fn json_at(relay: &Relay, path: &str) -> Result<Value> {
    let response = http::get(path).send(relay).await?;
    ensure!(response.status == 200, "{path}: {response:?}");
    response.json()
}

async fn relay_key(relay: &Relay) -> Result<PublicKey> {
    let overview = json_at(relay, "/audit").await?;
    Ok(PublicKey::from_hex(overview["relay"].as_str().context("no key")?)?)
}

/// The latest checkpoint of the only stream, once it covers so much.
async fn checkpoint_over(relay: &Relay, size: u64) -> Result<Checkpoint> {
    let mut found = None;
    eventually("a checkpoint covers the log", async || {
        let response = http::get("/audit/0/checkpoint").send(relay).await?;
        found = Checkpoint::parse(&response.body).ok().filter(|checkpoint| checkpoint.head.size >= size);
        Ok(found.is_some())
    })
    .await?;
    found.context("no checkpoint")
}

async fn hashes(relay: &Relay, path: &str) -> Result<Vec<Hash>> {
    let response = http::get(path).send(relay).await?;
    ensure!(response.status == 200, "{path}: {response:?}");
    Ok(response.bytes.as_chunks().0.iter().map(|hash| Hash(*hash)).collect())
}

/// What an `Authorization` header says (NIP-98).
fn authorization(keys: &Keys, relay: &Relay, target: &str) -> String {
    let url = format!("{}{target}", relay.http_url());
    let event = note("").by(keys).at(now()).kind(27_235).tag(["u", &url]).tag(["method", "GET"]).sign();
    format!("Nostr {}", BASE64_STANDARD.encode(event.json().to_string()))
}

fn index_of(ack: &Ack) -> Result<u64> {
    let place = ack.message.strip_prefix("audit: 0/").with_context(|| format!("{ack:?}"))?;
    Ok(place.parse()?)
}

#[tokio::test]
async fn ok_names_the_place_in_the_log_if_it_is_told_to() -> Result<()> {
    let (_relay, mut client) = relay_with("[audit]\nok_carries_place = true\n").await?;
    for place in 0..3 {
        let ack = client.publish(&note(&place.to_string()).sign()).await?;
        assert_eq!(index_of(&ack)?, place);
    }
    let (_relay, mut client) = empty_relay().await?;
    assert_eq!(client.publish(&note("").sign()).await?.message, "");
    Ok(())
}

#[tokio::test]
async fn checkpoints_are_events_that_subscribers_get() -> Result<()> {
    let (relay, mut client) = relay_with(QUICK).await?;
    let key = relay_key(&relay).await?;
    client.req("checkpoints", json!([{ "kinds": [36_962], "authors": [key.to_hex()], "#d": ["0"] }])).await?;
    let mut writer = Client::connect(&relay).await?;
    writer.store(&note("something to cover").sign()).await?;
    let event = client.live("checkpoints").await?;
    event.verify()?;
    let checkpoint = Checkpoint::parse(&event.content)?;
    assert_eq!((checkpoint.relay, checkpoint.name().as_str()), (key, "0"));
    assert!(checkpoint.head.size >= 1);
    Ok(())
}

#[tokio::test]
async fn a_log_of_nothing_but_checkpoints_rests() -> Result<()> {
    let (relay, mut client) = relay_with(QUICK).await?;
    client.store(&note("the only one").sign()).await?;
    let covered = checkpoint_over(&relay, 1).await?.head.size;
    client.store(&note("the second").sign()).await?;
    let again = checkpoint_over(&relay, covered + 1).await?.head.size;
    // One note and the two checkpoints that the first one was worth; a log that never rested would be longer.
    assert_eq!((covered, again), (1, 4));
    Ok(())
}

#[tokio::test]
async fn tiles_hash_to_the_root_of_the_checkpoint() -> Result<()> {
    let (relay, mut client) = relay_with("[audit]\ncheckpoint_interval_s = 1\n").await?;
    let notes: Vec<Event> = (0..300).map(|n| note(&n.to_string()).sign()).collect();
    client.store_all(&notes).await?;
    let Head { size, root } = checkpoint_over(&relay, 300).await?.head;
    let mut leaves = hashes(&relay, "/audit/0/tile/0/000").await?;
    assert_eq!(leaves.len(), 256);
    let mut tree = Tree::new();
    let mut of_level_1 = vec![];
    leaves.extend(hashes(&relay, &format!("/audit/0/tile/0/001.p/{}", size - 256)).await?);
    leaves.iter().for_each(|leaf| tree.append(*leaf, |node| of_level_1.extend((node.level == 1).then_some(node.hash))));
    assert_eq!(tree.head(), Head { size, root });
    assert_eq!(hashes(&relay, "/audit/0/tile/1/000.p/1").await?, of_level_1);
    for missing in [
        "/audit/0/tile/0/002",
        "/audit/0/tile/1/000",
        "/audit/0/tile/0/001",
        "/audit/0/tile/0/x018/x446/x744/x073/x709/x551/615",
        "/audit/1/tile/0/000",
        "/audit/x",
    ] {
        let response = http::get(missing).send(&relay).await?;
        assert_eq!((response.status, response.header("content-type")), (404, "application/problem+json"), "{missing}");
    }
    Ok(())
}

#[tokio::test]
async fn an_event_is_proved_with_nothing_but_the_relays_key() -> Result<()> {
    let (relay, mut client) = relay_with(QUICK).await?;
    let event = note("prove me").tag(["h", "team"]).sign();
    client.store(&event).await?;
    checkpoint_over(&relay, 1).await?;
    let response = http::get(&format!("/audit/inclusion/{}", event.id)).send(&relay).await?;
    assert_eq!(response.status, 200, "{response:?}");
    let proved = ProofFile::parse(&response.body)?.check(&relay_key(&relay).await?, &Verifier::new())?;
    assert_eq!(proved.event.context("no event")?.id().to_hex(), event.id);
    assert!(
        ProofFile::parse(&response.body)?.check(&PublicKey::from_hex(&alice().pubkey())?, &Verifier::new()).is_err()
    );
    let unknown = http::get(&format!("/audit/inclusion/{}", "0".repeat(64))).send(&relay).await?;
    assert_eq!(unknown.status, 404);
    Ok(())
}

#[tokio::test]
async fn two_sizes_are_proved_to_be_of_one_log() -> Result<()> {
    let (relay, mut client) = relay_with(QUICK).await?;
    client.store(&note("the first").sign()).await?;
    let old = checkpoint_over(&relay, 1).await?.head;
    client.store_all(&(0..20).map(|n| note(&n.to_string()).sign()).collect::<Vec<_>>()).await?;
    let new = checkpoint_over(&relay, old.size + 20).await?.head;
    let page = json_at(&relay, &format!("/audit/0/consistency?from={}&to={}", old.size, new.size)).await?;
    let path = page["path"].as_array().context("no path")?.iter().map(|hash| hash.as_str().unwrap_or_default().parse());
    assert!(check_consistency(old, new, &path.collect::<Result<Vec<Hash>, _>>()?));
    for nonsense in ["?from=5&to=3", "?from=1&to=999999", "", "?from=x", "?from=-1&to=3"] {
        let response = http::get(&format!("/audit/0/consistency{nonsense}")).send(&relay).await?;
        assert_eq!(response.status, 400, "{nonsense}");
    }
    Ok(())
}

#[tokio::test]
async fn proofs_of_private_events_are_for_those_who_may_read_them() -> Result<()> {
    let config = format!("{QUICK}auditors = [\"{}\"]\n", Keys::named("auditor").pubkey());
    let (relay, mut client) = relay_with(&config).await?;
    let wrap = note("sealed").kind(1059).by(&Keys::named("one-time")).tag(["p", &bob().pubkey()]).sign();
    client.store(&wrap).await?;
    checkpoint_over(&relay, 1).await?;
    let target = format!("/audit/inclusion/{}", wrap.id);
    let ask = async |keys: Option<Keys>| {
        let request = http::get(&target);
        let request = match keys {
            Some(keys) => request.header("Authorization", &authorization(&keys, &relay, &target)),
            None => request,
        };
        anyhow::Ok(request.send(&relay).await?.status)
    };
    assert_eq!(ask(None).await?, 404);
    assert_eq!(ask(Some(carol())).await?, 404);
    assert_eq!(ask(Some(bob())).await?, 200);
    assert_eq!(ask(Some(Keys::named("auditor"))).await?, 200);
    for bad in ["Bearer x", "Nostr x", "Nostr e30=", &authorization(&bob(), &relay, "/audit/inclusion/other")] {
        let response = http::get(&target).header("Authorization", bad).send(&relay).await?;
        assert_eq!(response.status, 401, "{bad}");
    }
    Ok(())
}

#[tokio::test]
async fn where_reading_needs_authentication_so_do_proofs() -> Result<()> {
    let (relay, mut client) = relay_with(&format!("{QUICK}[auth]\nto_read = true\n")).await?;
    let (event, brief) = (note("for members").sign(), note("gone soon").tag(["expiration", &(now() + 2).to_string()]));
    let brief = brief.sign();
    client.store_all([&event, &brief]).await?;
    checkpoint_over(&relay, 2).await?;
    let target = format!("/audit/inclusion/{}", event.id);
    assert_eq!(http::get(&target).send(&relay).await?.status, 401);
    let authorized = async |target: &str| {
        let header = authorization(&bob(), &relay, target);
        anyhow::Ok(http::get(target).header("Authorization", &header).send(&relay).await?.status)
    };
    assert_eq!(authorized(&target).await?, 200);
    let target = format!("/audit/inclusion/{}", brief.id);
    eventually("what has expired is not proved any more", async || Ok(authorized(&target).await? == 404)).await
}

#[tokio::test]
async fn entries_are_for_auditors() -> Result<()> {
    let auditor = Keys::named("auditor");
    let (relay, mut client) = relay_with(&format!("{QUICK}auditors = [\"{}\"]\n", auditor.pubkey())).await?;
    let event = note("looked into").sign();
    client.store(&event).await?;
    let target = "/audit/0/entries?from=0&count=1";
    let ask = async |header: Option<String>| {
        let request = http::get(target);
        let request = header.map_or(request.clone(), |header| request.header("Authorization", &header));
        request.send(&relay).await
    };
    assert_eq!(ask(None).await?.status, 403);
    assert_eq!(ask(Some(authorization(&bob(), &relay, target))).await?.status, 403);
    let page = ask(Some(authorization(&auditor, &relay, target))).await?.json()?;
    assert_eq!((&page["entries"][0]["seq"], &page["entries"][0]["event"]["id"]), (&json!(1), &json!(event.id)));
    assert_eq!(page["entries"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[tokio::test]
async fn a_failed_proof_of_a_key_is_in_the_log_once_a_connection() -> Result<()> {
    let (relay, mut client) = relay_with(QUICK).await?;
    let challenge = client.challenge().await?;
    let elsewhere = note("").by(&bob()).at(now()).kind(22_242).tag(["relay", "wss://elsewhere.example"]);
    let elsewhere = elsewhere.tag(["challenge", &challenge]).sign();
    assert_refused(&client.auth(&elsewhere).await?, "invalid");
    let other = note("").by(&bob()).at(now()).kind(22_242).tag(["relay", relay.url()]).tag(["challenge", "x"]).sign();
    client.auth(&other).await?;
    // In the commit of the first proof or in one behind it: the event is not alone, and there are two entries in all.
    client.store(&note("behind it").sign()).await?;
    assert_eq!(json_at(&relay, "/audit").await?["streams"][0]["size"], json!(2));
    Ok(())
}

#[tokio::test]
async fn with_an_operators_key_checkpoints_are_signed_notes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("note.key");
    std::fs::write(&file, "09".repeat(32))?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let (relay, mut client) = relay_with(&format!("{QUICK}note_key_file = {:?}\n", file.display().to_string())).await?;
    client.store(&note("").sign()).await?;
    checkpoint_over(&relay, 1).await?;
    let note = http::get("/audit/0/checkpoint").send(&relay).await?.body;
    let key = json_at(&relay, "/audit").await?["streams"][0]["verifier_key"].as_str().context("no key")?.to_owned();
    assert!(is_signed_by(&note, &key), "{note} by {key}");
    Ok(())
}

#[tokio::test]
async fn the_end_is_signed_and_a_restart_without_news_signs_nothing() -> Result<()> {
    let (mut relay, mut client) = relay_with("").await?;
    client.store(&note("the last words").sign()).await?;
    relay.terminate().await?;
    relay.restart().await?;
    let covered = checkpoint_over(&relay, 1).await?.head.size;
    assert_eq!(json_at(&relay, "/audit").await?["streams"][0]["size"], json!(covered + 2));
    relay.terminate().await?;
    relay.restart().await?;
    assert_eq!(json_at(&relay, "/audit").await?["streams"][0]["size"], json!(covered + 2));
    let cluster = http::get("/audit/cluster/checkpoint").send(&relay).await?.body;
    assert_eq!(Checkpoint::parse(&cluster)?.head_of(0).map(|head| head.size), Some(covered));
    Ok(())
}

#[tokio::test]
async fn a_relay_without_an_audit_log_says_so() -> Result<()> {
    let (relay, mut client) = relay_with("[audit]\nenabled = false\nok_carries_place = true\n").await?;
    assert_eq!(client.publish(&note("").sign()).await?.message, "");
    let response = http::get("/audit").send(&relay).await?;
    assert_eq!(response.status, 404, "{response:?}");
    assert!(response.body.contains("no audit log"));
    Ok(())
}

#[tokio::test]
async fn pages_are_rationed_by_address() -> Result<()> {
    let config = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\ntrusted_addresses = []\n\
                  [rates]\nquery_per_address_per_s = 1\nquery_per_address_burst = 2\nquery_per_connection_burst = 1";
    let (relay, _client) = relay_with(config).await?;
    let ask =
        async |from: &str| anyhow::Ok(http::get("/audit").header("X-Forwarded-For", from).send(&relay).await?.status);
    assert_eq!((ask("203.0.113.9").await?, ask("203.0.113.9").await?), (200, 200));
    assert_eq!(ask("203.0.113.9").await?, 429);
    assert_eq!(ask("203.0.113.10").await?, 200, "others are not made to wait");
    Ok(())
}
