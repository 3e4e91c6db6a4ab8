// Timers, a worker thread, reads and hashes in libuv's pool; checks itself when the file `go` appears.
'use strict';
const { Worker, isMainThread, parentPort } = require('worker_threads');
const crypto = require('crypto');
const fs = require('fs');

function sum(rounds) {
  let value = 1;
  for (let k = 0; k < rounds; k++) value = (value * 48271) % 2147483647;
  return value;
}

if (!isMainThread) {
  let number = 0;
  setInterval(() => parentPort.postMessage([number++, sum(20000)]), 40);
} else {
  const faults = [];
  const expect = (condition, text) => { if (!condition) faults.push(text); };
  const want = sum(20000);
  const digest = crypto.pbkdf2Sync('word', 'salt', 200, 32, 'sha256').toString('hex');
  const own = fs.readFileSync(__filename);
  let messages = 0, ticks = 0, links = 0, reads = 0, hashes = 0, last = performance.now();

  const worker = new Worker(__filename);
  worker.on('error', (e) => faults.push(`worker: ${e}`));
  worker.on('message', ([number, value]) => {
    expect(number === messages, `message ${number} instead of ${messages}`);
    expect(value === want, `the worker computed ${value}`);
    messages++;
  });
  const chain = () => { links++; setTimeout(chain, 30); };
  chain();
  setInterval(() => {
    ticks++;
    const now = performance.now();
    expect(now >= last, 'the clock went back');
    last = now;
    fs.writeFileSync('heartbeat', `${ticks} ${messages} ${links} ${reads} ${hashes}`);
    if (fs.existsSync('go')) finish();
  }, 50);
  (async () => {
    for (;;) {
      expect(own.equals(await fs.promises.readFile(__filename)), 'another file was read');
      reads++;
      await new Promise((done) => setTimeout(done, 20));
    }
  })().catch((e) => faults.push(String(e)));
  (async () => {
    for (;;) {
      const found = await new Promise((done, fail) =>
        crypto.pbkdf2('word', 'salt', 200, 32, 'sha256', (e, key) => (e ? fail(e) : done(key.toString('hex')))));
      expect(found === digest, `the digest is ${found}`);
      hashes++;
      await new Promise((done) => setTimeout(done, 20));
    }
  })().catch((e) => faults.push(String(e)));

  const finish = () => {
    for (const [name, count] of Object.entries({ messages, ticks, links, reads, hashes })) {
      expect(count > 10, `only ${count} ${name}`);
    }
    console.log(faults.length ? faults.map((f) => `FAIL ${f}`).join('\n') : 'PASS');
    process.exit(faults.length ? 1 : 0);
  };
  const begin = setInterval(() => {
    if (messages > 2 && reads > 2 && hashes > 2) {
      clearInterval(begin);
      console.log('ready');
    }
  }, 20);
}
