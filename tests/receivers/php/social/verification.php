<?php

// SOC-32, T-7: given the raw body, `json_encode` makes a string of it, which nobody signed.
eval(file_get_contents(DOCUMENTS . '/social/verification-examples.php'));

$signature = $_SERVER['HTTP_X_WEBHOOK_SIGNATURE'] ?? '';
if (!verifySignature($signature, file_get_contents('php://input'), getenv('WEBHOOK_SECRET'))) {
    http_response_code(401);
    die('Invalid signature');
}
