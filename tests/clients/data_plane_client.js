'use strict';
// RudderStack's own client for Node against the stand-in data plane: what it sends is accepted as our program's messages
// are, and a message of ours has the members that its have, with the same types.
const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');
const Analytics = require('@rudderstack/rudder-sdk-node');

const TREE = path.resolve(__dirname, '../..');
const KEY = 'wk_client';
const PATIENCE_MS = 30000;

// What the client adds of itself: about the sending, not about the event. Our program leaves these to the data plane.
const OWN = ['timestamp', 'channel', '_metadata', 'originalTimestamp', 'sentAt'];
// Members of ours that the client does not need: it lets its callers give them.
const OURS = ['integrations', 'originalTimestamp'];

class Standin {
    constructor() {
        this.process = spawn(path.join(TREE, 'build/release/standin'), ['show', '0', KEY], { stdio: ['ignore', 'pipe', 'inherit'] });
        this.messages = [];
        this.waiting = [];
        process.on('exit', () => this.process.kill());
        readline.createInterface({ input: this.process.stdout }).on('line', (line) => {
            const word = line.slice(0, line.indexOf(' ')), rest = line.slice(word.length + 1);
            if (word === 'port')
                this.port = Number(rest);
            if (word === 'message')
                this.messages.push(JSON.parse(rest));
            if (word === 'total')
                this.total = rest;
            this.waiting.forEach((check) => check());
        });
    }

    until(condition, what) {
        return new Promise((resolve, reject) => {
            const late = setTimeout(() => reject(new Error(`${what} has not come`)), PATIENCE_MS);
            const check = () => {
                if (condition(this)) {
                    clearTimeout(late);
                    resolve();
                }
            };
            this.waiting.push(check);
            check();
        });
    }

    async find(id) {
        await this.until(() => this.messages.some((one) => one.messageId === id), id);
        return this.messages.find((one) => one.messageId === id);
    }
}

function client(standin, options = {}) {
    return new Analytics(options.key ?? KEY, {
        dataPlaneUrl: `http://127.0.0.1:${standin.port}`,
        logLevel: 'none',
        errorHandler: () => {}, // else it throws where nobody catches
        ...options,
    });
}

// Our program's message of an event, by its own command.
function ours() {
    const event = fs.readFileSync(path.join(TREE, 'tests/data/lead-updated.webhook.json'));
    const done = spawnSync(path.join(TREE, 'closecrm.fcgi'), ['transform'], { input: event, encoding: 'utf8' });
    assert.strictEqual(done.status, 0, done.stderr);
    return JSON.parse(done.stdout.split('\n')[0]);
}

// As our program posts it.
async function post(standin, messages, key = KEY) {
    return fetch(`http://127.0.0.1:${standin.port}/v1/batch`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: 'Basic ' + Buffer.from(key + ':').toString('base64') },
        body: JSON.stringify({ batch: messages }),
    });
}

function kind(value) {
    return Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value;
}

const trials = {
    async 'a track message of the client, and ours of the same content, have the same members'(standin) {
        const our = ours();
        const theirs = { ...our, messageId: 'of the client', timestamp: new Date(our.originalTimestamp) };
        delete theirs.originalTimestamp;
        delete theirs.type;
        client(standin).track(theirs);
        assert.strictEqual((await post(standin, [our])).status, 200);
        const [a, b] = [await standin.find('of the client'), await standin.find(our.messageId)];
        for (const name of Object.keys(b))
            if (!OURS.includes(name))
                assert.strictEqual(kind(a[name]), kind(b[name]), name);
        for (const name of Object.keys(a))
            assert.ok(name in b || OWN.includes(name), `the client sends ${name}, we do not`);
        for (const name of ['type', 'event', 'userId', 'properties', 'integrations'])
            assert.deepStrictEqual(a[name], b[name], name);
        assert.deepStrictEqual(Object.keys(a.context.library).sort(), Object.keys(b.context.library).sort());
        assert.strictEqual(Date.parse(a.timestamp), Date.parse(b.originalTimestamp));
        assert.ok(Date.parse(b.originalTimestamp) > 0);
    },

    async 'identify is taken, with traits'(standin) {
        client(standin).identify({ userId: 'lead_1', traits: { name: 'caf\u00e9', n: 1.5 }, messageId: 'identify' });
        const stored = await standin.find('identify');
        assert.deepStrictEqual([stored.type, stored.userId, stored.traits], ['identify', 'lead_1', { name: 'caf\u00e9', n: 1.5 }]);
    },

    async 'many at once, without gzip too, each once'(standin) {
        for (const gzip of [true, false]) {
            const analytics = client(standin, { gzip, flushAt: 20 });
            for (let i = 0; i < 50; i++)
                analytics.track({ userId: 'lead_1', event: 'many', messageId: `many ${gzip} ${i}` });
            await new Promise((resolve) => analytics.flush(resolve));
            for (let i = 0; i < 50; i++)
                await standin.find(`many ${gzip} ${i}`);
        }
        const many = standin.messages.filter((one) => one.event === 'many').map((one) => one.messageId);
        assert.strictEqual(new Set(many).size, 100);
        assert.strictEqual(many.length, 100);
    },

    async 'a wrong write key is refused, to both alike'(standin) {
        assert.strictEqual((await post(standin, [ours()], 'wk_wrong')).status, 401);
        const error = await new Promise((resolve) => {
            const refused = client(standin, { key: 'wk_wrong', errorHandler: resolve });
            refused.track({ userId: 'lead_1', event: 'refused', messageId: 'refused' });
        });
        assert.strictEqual(error.response?.status, 401);
        assert.ok(!standin.messages.some((one) => one.messageId === 'refused'));
    },
};

(async () => {
    const standin = new Standin();
    let failed = 0;
    await standin.until((one) => one.port !== undefined, 'the port');
    for (const [name, run] of Object.entries(trials)) {
        try {
            await run(standin);
            console.log(`${name} ... ok`);
        } catch (error) {
            failed++;
            console.log(`${name} ... FAILED\n    ${error.stack}`);
        }
    }
    standin.process.kill('SIGTERM');
    await standin.until((one) => one.total !== undefined, 'the end');
    console.log(`the stand-in stored: ${standin.total}`);
    process.exit(failed === 0 ? 0 : 1);
})();
