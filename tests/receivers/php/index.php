<?php

// Verify signature
$signature = $_SERVER['HTTP_X_AFFTOK_SIGNATURE'] ?? '';
$payload = file_get_contents('php://input');
$expectedSignature = hash_hmac('sha256', $payload, getenv('WEBHOOK_SECRET'));

if (!hash_equals($expectedSignature, $signature)) {
    http_response_code(401);
    echo json_encode(['error' => 'Invalid signature']);
    exit;
}

// Process event
$event = json_decode($payload, true);

switch ($event['type']) {
    case 'conversion.created':
        handleConversionCreated($event['data']);
        break;
    case 'conversion.approved':
        handleConversionApproved($event['data']);
        break;
    case 'fraud.detected':
        handleFraudDetected($event['data']);
        break;
}

http_response_code(200);
echo json_encode(['received' => true]);

function handleConversionCreated($data) {
    error_log("New conversion: " . $data['conversion_id']);
}

function handleConversionApproved($data) {
    error_log("Conversion approved: " . $data['conversion_id']);
}

function handleFraudDetected($data) {
    error_log("Fraud detected: " . $data['reason']);
}
