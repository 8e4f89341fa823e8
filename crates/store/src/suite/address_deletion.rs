//! Deletion requests by address (NIP-09): all versions up to the date of the request.

use towpath_policy::KIND_DELETION;

use super::Fixture;
use super::world::{ARTICLE, PROFILE, Who, Who::*, World};
use crate::Outcome;

fn article_address(of: Who, d: &str) -> String {
    format!("{ARTICLE}:{}:{d}", of.hex())
}

/// The request's own second included; and older ones do not come in later.
pub fn versions_up_to_the_request_are_deleted<F: Fixture>() {
    let (article, other) = (Alice.article(200, "x", ""), Alice.article(200, "y", ""));
    let request = Alice.delete_address(200, &article_address(Alice, "x"));
    let world = World::<F>::with(&[&article, &other, &request]);
    assert!(!world.has(&article) && world.has(&other));
    assert_eq!(world.commit(&[&article, &Alice.article(100, "x", "older")]).outcomes, [Outcome::Deleted; 2]);
    assert!(world.accepts(&Alice.article(201, "x", "newer")));
}

/// Stored or to come.
pub fn a_newer_version_survives<F: Fixture>() {
    let article = Alice.article(300, "x", "");
    let request = Alice.delete_address(200, &article_address(Alice, "x"));
    World::<F>::with(&[&article, &request]).holds(&[&article, &request]);
    World::<F>::with(&[&request, &article]).holds(&[&article, &request]);
}

/// Their address ends in an empty `d`; whatever a client wrote there does not matter.
pub fn plain_replaceables_are_deleted_by_address<F: Fixture>() {
    for d in [":", ":ignored", ""] {
        let profile = Alice.profile(100, "");
        let request = Alice.delete_address(200, &format!("{PROFILE}:{}{d}", Alice.hex()));
        let world = World::<F>::with(&[&profile, &request]);
        world.holds(&[&request]);
        assert_eq!(world.publish(&profile), Outcome::Deleted);
    }
}

/// Only the first two colons of an address part it.
pub fn a_d_tag_may_hold_colons<F: Fixture>() {
    let (article, other) = (Alice.article(100, "a:b:", ""), Alice.article(101, "a", ""));
    let request = Alice.delete_address(200, &article_address(Alice, "a:b:"));
    World::<F>::with(&[&article, &other, &request]).holds(&[&request, &other]);
}

/// An address says whose it is; one request may name own and foreign ones.
pub fn foreign_addresses_are_ignored<F: Fixture>() {
    let (hers, his) = (Alice.article(100, "x", ""), Bob.article(101, "x", ""));
    let (hers_address, his_address) = (article_address(Alice, "x"), article_address(Bob, "x"));
    let request = Bob.event(200, KIND_DELETION, &[&["a", &hers_address], &["a", &his_address]], "");
    let world = World::<F>::with(&[&hers, &his, &request]);
    world.holds(&[&request, &hers]);
    assert!(world.accepts(&Alice.article(102, "x", "again")));
    assert_eq!(world.publish(&Bob.article(102, "x", "again")), Outcome::Deleted);
}

/// An older request that comes later does not bring back what a newer one covers.
pub fn the_latest_request_counts<F: Fixture>() {
    let address = article_address(Alice, "x");
    let requests = [Alice.delete_address(300, &address), Alice.delete_address(200, &address)];
    let world = World::<F>::with(&[&requests[0], &requests[1]]);
    assert_eq!(world.publish(&Alice.article(250, "x", "")), Outcome::Deleted);
    assert!(world.accepts(&Alice.article(301, "x", "")));
}
