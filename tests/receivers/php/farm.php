<?php

// Serves every receiver of this folder at /<provider>/<name>. They require the snippets of tests/fixtures/documents.

const DOCUMENTS = __DIR__ . '/../../fixtures/documents';

if (!preg_match('~^/([a-z]+)/([a-z_]+)/~', $_SERVER['REQUEST_URI'], $place) || !is_file(__DIR__ . "/$place[1]/$place[2].php")) {
    http_response_code(404);
    exit;
}
require __DIR__ . "/$place[1]/$place[2].php";
