// AFF-32: complete as it is printed.
//= afftok-overview/basic-handler.js
