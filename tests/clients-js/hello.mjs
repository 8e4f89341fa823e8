// The tour of the README: publishes a note as a new author and waits until a subscription brings it back.
// node hello.mjs ws://127.0.0.1:7777 'What the note says'

import { finalizeEvent, generateSecretKey } from 'nostr-tools/pure'
import { Relay, useWebSocketImplementation } from 'nostr-tools/relay'
import WebSocket from 'ws'

useWebSocketImplementation(WebSocket)

const [url, content] = process.argv.slice(2)
const note = finalizeEvent(
  { kind: 1, created_at: Math.floor(Date.now() / 1000), tags: [], content },
  generateSecretKey(),
)

const relay = await Relay.connect(url)
const delivered = new Promise((resolve) => relay.subscribe([{ ids: [note.id] }], { onevent: resolve }))
await relay.publish(note)
console.log('published: the relay has synced it to its disk')
console.log(JSON.stringify(await delivered))
relay.close()
