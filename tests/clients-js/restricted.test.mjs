// nostr-tools against a relay that asks everybody who they are, to write and to read.
// RELAY_URL=ws://… node --test restricted.test.mjs

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { author, authenticated, connect, pool, stored, url } from './support.mjs'

test('nobody writes or reads without saying who they are', async (t) => {
  const relay = await connect(t)
  const alice = author()
  await assert.rejects(relay.publish(alice.sign({ content: 'hello' })), /^Error: auth-required: /)
  await assert.rejects(stored(relay, { authors: [alice.pubkey] }), /^Error: auth-required: /)
})

test('who has answered the challenge writes and reads', async (t) => {
  const relay = await connect(t)
  const alice = author()
  await authenticated(relay, alice)
  const event = alice.sign({ content: 'hello' })
  await relay.publish(event)
  const found = await stored(relay, { ids: [event.id] })
  assert.deepEqual(found.map(({ id }) => id), [event.id])
})

test('a pool authenticates when it is asked to and publishes again', async (t) => {
  const relays = pool(t)
  const alice = author()
  const event = alice.sign({ content: 'asked twice' })
  await Promise.all(relays.publish([url], event, { onauth: alice.auth }))
  const found = await relays.querySync([url], { ids: [event.id] })
  assert.deepEqual(found.map(({ id }) => id), [event.id])
})

test('a pool authenticates when it is asked to and subscribes again', async (t) => {
  const [writing, reading] = [pool(t), pool(t)]
  const alice = author()
  const event = alice.sign({ content: 'read later' })
  await Promise.all(writing.publish([url], event, { onauth: alice.auth }))
  const found = await new Promise((resolve, reject) => reading.subscribe([url], { ids: [event.id] }, {
    onauth: author().auth,
    onevent: resolve,
    onclose: (reasons) => reject(new Error(JSON.stringify(reasons))),
  }))
  assert.equal(found.id, event.id)
})
