// What the tests share: an author each, events, connections that end with their test, and waits that have a deadline.

import { finalizeEvent, generateSecretKey, getPublicKey } from 'nostr-tools/pure'
import { SimplePool, useWebSocketImplementation as usePoolSocket } from 'nostr-tools/pool'
import { Relay, useWebSocketImplementation as useRelaySocket } from 'nostr-tools/relay'
import WebSocket from 'ws'

usePoolSocket(WebSocket)
useRelaySocket(WebSocket)

export const url = process.env.RELAY_URL

const DEADLINE_MS = 10_000

// Every author is new, so that tests on one relay do not meet each other's events.
export function author() {
  const secret = generateSecretKey()
  const pubkey = getPublicKey(secret)
  const sign = (template) => finalizeEvent({ created_at: now(), kind: 1, tags: [], content: '', ...template }, secret)
  return { secret, pubkey, sign, auth: async (template) => finalizeEvent(template, secret) }
}

export const now = () => Math.floor(Date.now() / 1000)

export async function connect(test) {
  const relay = await Relay.connect(url)
  test.after(() => relay.close())
  return relay
}

export function pool(test) {
  const pool = new SimplePool()
  test.after(() => pool.destroy())
  return pool
}

// An open subscription whose events are read one by one, in the order they came.
export function listen(relay, filters, id) {
  const events = channel()
  const end = channel()
  const subscription = relay.subscribe(filters, {
    ...(id && { id }),
    onevent: events.push,
    oninvalidevent: events.push,
    oneose: () => end.push('EOSE'),
    onclose: end.push,
  })
  return { next: events.next, ended: end.next, close: () => subscription.close() }
}

// The stored events of a filter.
export async function stored(relay, filter) {
  const events = []
  const reason = await within('the end of the stored events', (resolve) => {
    const subscription = relay.subscribe([filter], {
      onevent: (event) => events.push(event),
      oneose: () => { resolve('EOSE'); subscription.close() },
      onclose: resolve,
    })
  })
  if (reason !== 'EOSE') throw new Error(reason)
  return events
}

// The challenge comes with the connection; until it has come, nostr-tools cannot authenticate.
export function authenticated(relay, who) {
  return within('the challenge', (resolve, reject) => {
    relay.onauth = who.auth
    const attempt = () => relay.auth(who.auth).then(resolve, (error) =>
      /no challenge/.test(error.message) ? setImmediate(attempt) : reject(error))
    attempt()
  })
}

function within(what, start) {
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => reject(new Error(`waited too long for ${what}`)), DEADLINE_MS)
    const settled = (settle) => (value) => { clearTimeout(deadline); settle(value) }
    start(settled(resolve), settled(reject))
  })
}

function channel() {
  const arrived = []
  const waiting = []
  return {
    push: (value) => (waiting.length ? waiting.shift()(value) : arrived.push(value)),
    next: () => arrived.length
      ? Promise.resolve(arrived.shift())
      : within('something to arrive', (resolve) => waiting.push(resolve)),
  }
}
