// The rival in Node: Express and RudderStack's own SDK, as its documentation shows them. Checks the signature, hands the
// event to the SDK, and answers at once; the SDK sends batches from memory, and what it holds is lost with the process.
'use strict';

const { createHmac, timingSafeEqual } = require('crypto');
const express = require('express');
const Analytics = require('@rudderstack/rudder-sdk-node');

const key = Buffer.from(process.env.SIGNATURE_KEY, 'hex');
const client = new Analytics(process.env.WRITE_KEY, {
    dataPlaneUrl: process.env.DATA_PLANE_URL,
    flushAt: 100,
    flushInterval: 100,
    maxInternalQueueSize: 1000000,
    logLevel: 'error',
});

function isSigned(request) {
    const hash = Buffer.from(request.get('close-sig-hash') || '', 'hex');
    const hmac = createHmac('sha256', key).update(request.get('close-sig-timestamp') || '').update(request.body);
    return hash.length === 32 && timingSafeEqual(hmac.digest(), hash);
}

const app = express();
app.disable('x-powered-by');
app.post('/closecrm', express.raw({ type: '*/*', limit: '16mb' }), (request, response) => {
    if (!isSigned(request)) {
        response.status(401).send('wrong signature');
        return;
    }
    const { event } = JSON.parse(request.body);
    client.track({
        userId: event.lead_id,
        messageId: event.id,
        event: `${event.object_type}.${event.action}`,
        properties: event,
        originalTimestamp: new Date(`${event.date_updated.slice(0, 23)}Z`),
    });
    response.type('text/plain').send('ok');
});
app.listen(Number(process.env.PORT), '127.0.0.1');
