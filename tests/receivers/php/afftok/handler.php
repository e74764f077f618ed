<?php

// AFF-34: complete as it is printed.
require DOCUMENTS . '/afftok-overview/basic-handler.php';
