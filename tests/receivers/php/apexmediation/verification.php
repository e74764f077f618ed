<?php

// APX-16: complete but for the secret. Fits bodies in the form `php` (T-1).
$webhookSecret = getenv('WEBHOOK_SECRET');
require DOCUMENTS . '/apexmediation/verify-webhook-signature.php';
