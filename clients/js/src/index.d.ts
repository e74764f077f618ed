/** What stands in JSON. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Options {
  /** Where the server is: `https://hooks.example.com`. */
  url: string;
  /** An API key of the tenant, or a token where its profile takes one. */
  key: string;
  /** The tenant's profile: `attribution`, `apexmediation` and `social` have their webhooks at paths of their own. */
  profile?: string;
  /** For the operator's key: whose tenant is meant. */
  tenant?: string;
  /** Milliseconds that one attempt may take; 30,000. */
  timeout?: number;
  /** How often a request is sent again if that is safe; 2. */
  retries?: number;
  /** Seconds of `Retry-After` that are still waited for; 30. */
  longestWait?: number;
  fetch?: typeof fetch;
}

/** The same key and body do nothing twice. A new one is made unless it is given. */
export interface Once { idempotencyKey?: string }
/** Refuses with `Conflict` if another version is in force. */
export interface IfVersion { ifVersion?: number }
/** How many items a page has. */
export interface Paged { limit?: number }
export type Status = 'active' | 'paused' | 'disabled';
export type BodyFormat = 'js' | 'python' | 'php' | 'raw';
export type SignatureMode = 'hmac' | 'jwt' | 'none';
export interface RetryPolicy {
  preset?: string;
  max_attempts?: number;
  backoff_type?: 'fixed' | 'exponential' | 'exponential_jitter' | 'schedule';
  [setting: string]: Json | undefined;
}

interface Target {
  url: string;
  method?: 'POST' | 'GET' | 'PUT' | 'PATCH' | 'DELETE';
  headers?: Record<string, string> | null;
  body_template?: Json;
  body_format?: BodyFormat | null;
  timeout_seconds?: number | null;
  retry_policy?: RetryPolicy | null;
  signature_mode?: SignatureMode | null;
}

export interface WebhookDraft extends Target {
  events: string[];
  /** 24 bytes or more; made if it is absent. */
  secret?: string;
  name?: string;
  description?: string | null;
  status?: Status;
  on_exhausted?: 'continue' | 'halt';
}

export interface Webhook extends Target {
  id: string;
  events: string[];
  name: string;
  description: string | null;
  status: Status;
  /** Only in the answer to its making, if the server made it. */
  secret?: string;
  version: number;
  created_at: string;
  updated_at: string;
}

export interface StepDraft extends Target {
  id?: string;
  name?: string;
  order?: number;
  stop_on_failure?: boolean;
  signing_key?: string;
}

export interface PipelineDraft {
  name: string;
  description?: string | null;
  trigger_type: string | string[];
  status?: Status;
  on_exhausted?: 'continue' | 'halt';
  failover_url?: string | null;
  steps: StepDraft[];
}

export interface Pipeline extends PipelineDraft {
  id: string;
  version: number;
  created_at: string;
  updated_at: string;
}

export interface Event {
  type: string;
  data: { [key: string]: Json };
  id?: string;
  timestamp?: string;
  resource?: string;
  metadata?: { [key: string]: Json };
}

export interface Receipt {
  id: string;
  position: number;
  resource: string;
  pipelines: string[];
  duplicate: boolean;
  warnings?: { code: string; message: string }[];
}

export interface BatchOutcome extends Partial<Receipt> {
  index: number;
  status: number;
  error?: { code: string; message: string; errors: FieldError[] };
}

export type DeliveryStatus =
  | 'queued' | 'in_flight' | 'retrying' | 'held' | 'delivered' | 'dead_lettered' | 'skipped' | 'cancelled';
export interface Delivery {
  id: string;
  pipeline_id: string;
  event_id: string;
  event_type: string;
  resource: string;
  status: DeliveryStatus;
  attempts_made: number;
  [field: string]: unknown;
}

/** The signing secret in force, and those before it that still are. */
export interface Secrets {
  step_id: string;
  secret: string;
  /** A rotation answers when they end, not what they are. */
  former: { secret?: string; expires_at: string }[];
}
/** `public_key` is the `whpk_…` that `verify` takes. */
export interface SigningKeys {
  key_set: string;
  keys: { id: string; status: 'current' | 'former'; public_key: string; expires_at: string | null }[];
}
/** Without an overlap the new secret is in force alone. */
export interface Rotation {
  secret?: string;
  overlap_seconds?: number;
}

/** An answer whose fields docs/api.md has. */
export type Answer = { [field: string]: any };
export type DeliveryQuery = Paged & {
  pipeline_id?: string; event_id?: string; resource?: string; status?: DeliveryStatus; type?: string; since?: string; until?: string;
};

/** A list that is read page by page as it is walked through. */
export class Pages<T> implements AsyncIterable<T> {
  pages(): AsyncGenerator<T[]>;
  [Symbol.asyncIterator](): AsyncGenerator<T>;
  take(max: number): Promise<T[]>;
}

/** The API of one tenant. */
export class Client {
  constructor(options: Options);
  createWebhook(webhook: WebhookDraft, options?: Once): Promise<Webhook>;
  listWebhooks(query?: Paged & { status?: Status; event?: string }): Pages<Webhook>;
  getWebhook(id: string): Promise<Webhook>;
  updateWebhook(id: string, changes: Partial<WebhookDraft>, options?: IfVersion): Promise<Webhook>;
  deleteWebhook(id: string, options?: IfVersion): Promise<Answer>;
  testWebhook(id: string, test?: Answer): Promise<Answer>;
  webhookLogs(id: string, query?: Paged): Pages<Answer>;
  revealSecret(id: string): Promise<Secrets>;
  rotateSecret(id: string, rotation?: Rotation): Promise<Secrets>;

  sendEvent(event: Event, options?: Once): Promise<Receipt>;
  sendEvents(events: Event[], options?: Once): Promise<{ accepted: number; refused: number; events: BatchOutcome[] }>;
  listEvents(query?: Paged & { type?: string; resource?: string }): Pages<Answer>;
  getEvent(id: string): Promise<Answer>;

  listDeliveries(query?: DeliveryQuery): Pages<Delivery>;
  getDelivery(id: string): Promise<Delivery & { steps: Answer[]; attempts: Answer[] }>;
  cancelDelivery(id: string): Promise<Answer>;
  retryDelivery(id: string): Promise<Answer>;
  listExecutions(query?: Answer): Pages<Answer>;
  listFailures(query?: Answer): Pages<Answer>;
  listDeadLetters(query?: Answer): Pages<Answer>;
  retryDeadLetter(id: string): Promise<Answer>;
  deleteDeadLetter(id: string): Promise<Answer>;
  listLanes(pipelineId: string, query?: Paged): Pages<Answer>;
  skipLane(pipelineId: string, resource: string): Promise<Answer>;
  resumeLane(pipelineId: string, resource: string): Promise<Answer>;

  createPipeline(pipeline: PipelineDraft, options?: Once): Promise<Pipeline>;
  listPipelines(query?: Paged & { page?: number; status?: Status; trigger_type?: string }): Pages<Answer>;
  getPipeline(id: string): Promise<Pipeline>;
  updatePipeline(id: string, changes: Partial<PipelineDraft>, options?: IfVersion): Promise<Pipeline>;
  deletePipeline(id: string, options?: IfVersion): Promise<Answer>;
  testPipeline(id: string, test?: Answer): Promise<Answer>;
  testStep(call: Answer): Promise<Answer>;
  revealStepSecret(pipelineId: string, stepId: string): Promise<Secrets>;
  rotateStepSecret(pipelineId: string, stepId: string, rotation?: Rotation): Promise<Secrets>;
  stats(): Promise<Answer>;

  createTenant(tenant: { id?: string; name: string; profile: string }, options?: Once): Promise<Answer>;
  listTenants(query?: Paged): Pages<Answer>;
  getTenant(id: string): Promise<Answer>;
  updateTenant(id: string, changes: Answer): Promise<Answer>;
  deleteTenant(id: string): Promise<Answer>;
  createKey(tenantId: string, key: { scopes: string[]; name?: string; expires_at?: string }, options?: Once): Promise<Answer>;
  listKeys(tenantId: string, query?: Paged): Pages<Answer>;
  deleteKey(tenantId: string, keyId: string): Promise<Answer>;
  signingKeys(tenantId: string): Promise<SigningKeys>;
  rotateSigningKeys(tenantId: string, rotation?: { overlap_seconds?: number }): Promise<SigningKeys>;
  egressIps(): Promise<{ ips: string[]; changing: { ips: string[]; effective_at: string } | null }>;

  audit(query?: Paged & { since?: string; until?: string; actor?: string }): Pages<Answer>;
  state(): Promise<Answer>;
  log(query?: Paged & { from?: number; stream?: string; kind?: string }): Pages<Answer>;
  verifyLog(): Promise<Answer>;
}

export interface FieldError { pointer: string; code: string; message: string }
export class LedgerhookError extends Error {}
export class ConnectionError extends LedgerhookError {}
export class UnexpectedAnswer extends LedgerhookError {
  readonly status: number;
  readonly retryAfter?: number;
}

export class ApiError extends LedgerhookError {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly errors: FieldError[];
  readonly requestId?: string;
  readonly retryAfter?: number;
}

export class InvalidRequest extends ApiError {}
export class Unauthorized extends ApiError {}
export class Forbidden extends ApiError {}
export class NotFound extends ApiError {}
export class Conflict extends ApiError {}
export class Unavailable extends ApiError {}
export type Reason =
  | 'missing_header' | 'malformed_header' | 'stale_timestamp' | 'wrong_signature' | 'unusable_secret' | 'raw_body_needed' | 'not_json';
export class VerificationError extends LedgerhookError {
  readonly reason: Reason;
}

export interface VerifyOptions {
  /** Whose headers are checked. `standard` (the default) works for every profile, and refuses replays. */
  profile?: 'standard' | 'afftok' | 'attribution' | 'apexmediation' | 'social' | { headers: string[]; prefix?: string };
  /** Seconds that a `webhook-timestamp` may be off; 300. */
  tolerance?: number;
  /** Seconds since 1970; the clock, unless a test says otherwise. */
  now?: number;
}

type Body = string | Uint8Array | ArrayBuffer;
type HeaderSource = { get(name: string): string | null } | Record<string, string | string[] | undefined>;

/**
 * Checks a delivery and answers with its event; throws a `VerificationError` otherwise. `body` is what came over the
 * wire, unparsed. `secret` may be several, during a rotation; `whpk_…` is the public key of `v1a` signatures.
 */
export function verify(body: Body, headers: HeaderSource, secret: string | string[], options?: VerifyOptions): any;
