// nostr-tools against a relay with the default configuration. RELAY_URL=ws://… node --test open.test.mjs

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { wrapEvent } from 'nostr-tools/nip59'
import { author, authenticated, connect, listen, now, pool, stored, url } from './support.mjs'

test('a published event is stored and comes back as it was', async (t) => {
  const relay = await connect(t)
  const event = author().sign({ content: 'stored — "quoted"\n\t✓', tags: [['t', 'tools'], ['empty', '']] })
  await relay.publish(event)
  const [back] = await stored(relay, { ids: [event.id] })
  assert.deepEqual(JSON.parse(JSON.stringify(back)), JSON.parse(JSON.stringify(event)))
})

test('a subscription gets what is stored, then what is published', async (t) => {
  const [writer, reader] = [await connect(t), await connect(t)]
  const alice = author()
  const [first, second] = ['first', 'second'].map((content) => alice.sign({ content }))
  await writer.publish(first)
  const subscription = listen(reader, [{ authors: [alice.pubkey] }])
  assert.equal((await subscription.next()).id, first.id)
  assert.equal(await subscription.ended(), 'EOSE')
  await writer.publish(second)
  assert.equal((await subscription.next()).id, second.id)
})

test('the name of a closed subscription is free for another', async (t) => {
  const relay = await connect(t)
  const [alice, bob] = [author(), author()]
  const old = listen(relay, [{ authors: [alice.pubkey] }], 'name')
  await old.ended()
  old.close()
  const next = listen(relay, [{ authors: [bob.pubkey] }], 'name')
  await next.ended()
  const [closed, open] = [alice, bob].map((each) => each.sign({ content: 'who hears it?' }))
  await relay.publish(closed)
  await relay.publish(open)
  assert.equal((await next.next()).id, open.id)
})

test('a refused event rejects its publication with the reason', async (t) => {
  const relay = await connect(t)
  const event = author().sign({ created_at: now() + 100_000 })
  await assert.rejects(relay.publish(event), /^Error: invalid: /)
})

test('a forged signature is refused', async (t) => {
  const relay = await connect(t)
  const [event, other] = [author().sign({ content: 'mine' }), author().sign({ content: 'theirs' })]
  await assert.rejects(relay.publish({ ...event, sig: other.sig }), /^Error: invalid: /)
})

test('a newer version replaces the older one', async (t) => {
  const relay = await connect(t)
  const alice = author()
  for (const age of [10, 5, 20]) {
    await relay.publish(alice.sign({ kind: 0, created_at: now() - age, content: `{"name":"${age}"}` }))
  }
  const found = await stored(relay, { authors: [alice.pubkey], kinds: [0] })
  assert.deepEqual(found.map((event) => event.content), ['{"name":"5"}'])
})

test('a deleted event is gone and stays away', async (t) => {
  const relay = await connect(t)
  const alice = author()
  const event = alice.sign({ content: 'regretted' })
  await relay.publish(event)
  await relay.publish(alice.sign({ kind: 5, tags: [['e', event.id], ['k', '1']] }))
  assert.deepEqual(await stored(relay, { ids: [event.id] }), [])
  await assert.rejects(relay.publish(event), /^Error: blocked: /)
})

test('an ephemeral event reaches who listens and is not stored', async (t) => {
  const relay = await connect(t)
  const alice = author()
  const subscription = listen(relay, [{ authors: [alice.pubkey], kinds: [20001] }])
  await subscription.ended()
  const event = alice.sign({ kind: 20001, content: 'typing' })
  await relay.publish(event)
  assert.equal((await subscription.next()).id, event.id)
  assert.deepEqual(await stored(relay, { ids: [event.id] }), [])
})

test('events are counted', async (t) => {
  const relay = await connect(t)
  const alice = author()
  await Promise.all([1, 2, 3].map((number) => relay.publish(alice.sign({ content: `${number}` }))))
  assert.equal(await relay.count([{ authors: [alice.pubkey] }], {}), 3)
})

test('a gift wrap is for its recipient alone', async (t) => {
  const [anyone, bobs] = [await connect(t), await connect(t)]
  const bob = author()
  const wrap = wrapEvent({ kind: 14, tags: [], content: 'between us' }, author().secret, bob.pubkey)
  await anyone.publish(wrap)
  await assert.rejects(stored(anyone, { kinds: [1059], '#p': [bob.pubkey] }), /^Error: auth-required: /)
  await authenticated(bobs, bob)
  const found = await stored(bobs, { kinds: [1059], '#p': [bob.pubkey] })
  assert.deepEqual(found.map((event) => event.id), [wrap.id])
})

test('a pool publishes, finds one and finds many', async (t) => {
  const relays = pool(t)
  const alice = author()
  const events = [1, 2, 3].map((age) => alice.sign({ created_at: now() - age, content: `${age}` }))
  await Promise.all(events.flatMap((event) => relays.publish([url], event)))
  const found = await relays.querySync([url], { authors: [alice.pubkey] })
  assert.deepEqual(found.map((event) => event.content).sort(), ['1', '2', '3'])
  const newest = await relays.get([url], { authors: [alice.pubkey] })
  assert.equal(newest.content, '1')
})

test('many subscriptions share a connection and each gets its own events', async (t) => {
  const relay = await connect(t)
  const authors = Array.from({ length: 50 }, author)
  const subscriptions = authors.map(({ pubkey }) => listen(relay, [{ authors: [pubkey] }]))
  await Promise.all(subscriptions.map((subscription) => subscription.ended()))
  await Promise.all(authors.map((each) => relay.publish(each.sign({ content: each.pubkey }))))
  const received = await Promise.all(subscriptions.map((subscription) => subscription.next()))
  assert.deepEqual(received.map((event) => event.content), authors.map(({ pubkey }) => pubkey))
})
