import type { VerifyOptions, verify as verifySync } from './index.js';

export { Client, Pages } from './index.js';
export {
  LedgerhookError, ConnectionError, UnexpectedAnswer, ApiError, InvalidRequest, Unauthorized, Forbidden, NotFound,
  Conflict, Unavailable, VerificationError,
} from './index.js';
export type * from './index.js';

/** As `verify` of the main entry, with WebCrypto. */
export function verify(
  body: Parameters<typeof verifySync>[0],
  headers: Parameters<typeof verifySync>[1],
  secret: string | string[],
  options?: VerifyOptions,
): Promise<any>;
