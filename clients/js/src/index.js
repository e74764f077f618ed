export { Client } from './client.js';
export * from './errors.js';
export { Pages } from './pages.js';
export { verify } from './verify.js';
