// $body is file_get_contents('php://input').
function verify(string $secret, array $headers, string $body): bool {
    [$id, $timestamp] = [$headers['webhook-id'] ?? '', $headers['webhook-timestamp'] ?? ''];
    if (!ctype_digit($timestamp) || abs(time() - (int) $timestamp) > 300) return false;
    $key = str_starts_with($secret, 'whsec_') ? base64_decode(substr($secret, 6)) : $secret;
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    foreach (explode(' ', $headers['webhook-signature'] ?? '') as $given) {
        if (hash_equals($expected, $given)) return true;
    }
    return false;
}

// The header of the AffTok, Attribution and ApexMediation profiles; `sha256=` before it for Social.
function verify_profile(string $secret, ?string $signature, string $body): bool {
    return hash_equals(hash_hmac('sha256', $body, $secret), preg_replace('/^sha256=/', '', $signature ?? ''));
}
