// What can go wrong. No text here ever holds a key, a secret, or the body of a request.

/** Whatever this package throws. */
export class LedgerhookError extends Error {
  get name() {
    return this.constructor.name;
  }
}

/** A request did not come through, or nobody answered in time. Whether it was acted upon is not known. */
export class ConnectionError extends LedgerhookError {}

/** The server answered something that is no answer of its API: most likely something else listens there. */
export class UnexpectedAnswer extends LedgerhookError {
  constructor(message, status, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** The server refused, and says why (`application/problem+json`, RFC 9457). */
export class ApiError extends LedgerhookError {
  constructor(status, problem, retryAfter) {
    super(text(status, problem));
    /** @type {number} */
    this.status = status;
    /** For programs: `validation_failed`, `not_found`, … */
    this.code = problem.code ?? 'unknown';
    /** For people. */
    this.detail = problem.detail ?? problem.title ?? '';
    /** The fields to blame: `pointer` is a JSON pointer into the body, or `/name` of a query parameter. */
    this.errors = problem.errors ?? [];
    /** Names the request in the server's log. */
    this.requestId = problem.request_id;
    /** Seconds after which it makes sense to come again. */
    this.retryAfter = retryAfter;
  }
}

/** 400, 405, 413, 415, 422: the request is wrong; `errors` names the fields. */
export class InvalidRequest extends ApiError {}
/** 401: no key, or none that is valid. */
export class Unauthorized extends ApiError {}
/** 403: the key may not do this. */
export class Forbidden extends ApiError {}
/** 404: it does not exist, or is another tenant's. */
export class NotFound extends ApiError {}
/** 409, 412: not in this state, or changed in between. */
export class Conflict extends ApiError {}
/** 429, 5xx: come again after `retryAfter`. */
export class Unavailable extends ApiError {}

function text(status, { code, detail, title, errors = [] }) {
  const fields = errors.map(({ pointer, message }) => `\n  ${pointer || 'body'}: ${message}`).join('');
  return `${status} ${code ?? ''}: ${detail ?? title ?? 'no reason given'}${errors.length > 1 ? fields : ''}`;
}

/** A delivery that is not to be trusted. `reason` is for programs, the message for the one who looks into it. */
export class VerificationError extends LedgerhookError {
  constructor(reason, message) {
    super(message);
    /** @type {import('./index.js').Reason} */
    this.reason = reason;
  }
}
