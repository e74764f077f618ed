<?php

// SOC-32: given the parsed body that it is written for. Fits bodies in the form `php` (T-1).
eval(file_get_contents(DOCUMENTS . '/social/verification-examples.php'));

$signature = $_SERVER['HTTP_X_WEBHOOK_SIGNATURE'] ?? '';
$body = json_decode(file_get_contents('php://input'), true);
if (!verifySignature($signature, $body, getenv('WEBHOOK_SECRET'))) {
    http_response_code(401);
    die('Invalid signature');
}
