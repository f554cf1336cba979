<?php
// The rival in PHP: what people put on shared hosting. Checks the signature, makes the message, posts it to the data
// plane, and answers when the data plane has. One event for each request, nothing is kept.
declare(strict_types=1);

$key = hex2bin($_SERVER['SIGNATURE_KEY']);
$body = file_get_contents('php://input');
$timestamp = $_SERVER['HTTP_CLOSE_SIG_TIMESTAMP'] ?? '';
if (!hash_equals(hash_hmac('sha256', $timestamp . $body, $key), $_SERVER['HTTP_CLOSE_SIG_HASH'] ?? '')) {
    http_response_code(401);
    exit('wrong signature');
}
$webhook = json_decode($body, true, 512, JSON_THROW_ON_ERROR);
$event = $webhook['event'];
$message = [
    'userId' => $event['lead_id'],
    'messageId' => $event['id'],
    'event' => $event['object_type'] . '.' . $event['action'],
    'properties' => $event,
    'originalTimestamp' => substr($event['date_updated'], 0, 23) . 'Z',
];

// A pooled process of PHP-FPM keeps the connection only within one request.
$curl = curl_init($_SERVER['DATA_PLANE_URL'] . '/v1/track');
curl_setopt_array($curl, [
    CURLOPT_USERPWD => $_SERVER['WRITE_KEY'] . ':',
    CURLOPT_HTTPHEADER => ['Content-Type: application/json'],
    CURLOPT_POSTFIELDS => json_encode($message, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE),
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_TIMEOUT => 10,
]);
$answer = curl_exec($curl);
if (curl_getinfo($curl, CURLINFO_RESPONSE_CODE) !== 200) {
    http_response_code(503);
    exit('the data plane did not take it');
}
header('Content-Type: text/plain');
header('Content-Length: 2');
echo 'ok';
