<?php

// SOC-28, SOC-33: the same function over the raw body.
function verifySignature($signature, $body, $secret) {
    $expectedSignature = hash_hmac('sha256', $body, $secret);
    return "sha256={$expectedSignature}" === $signature;
}

$signature = $_SERVER['HTTP_X_WEBHOOK_SIGNATURE'] ?? '';
if (!verifySignature($signature, file_get_contents('php://input'), getenv('WEBHOOK_SECRET'))) {
    http_response_code(401);
    die('Invalid signature');
}
