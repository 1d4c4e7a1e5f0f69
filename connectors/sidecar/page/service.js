// The service that this page came from: what it answers, and the token it is asked with.

const TOKEN = "kvstore.token";
const TIMEOUT_MS = 20_000;

/** The service does not answer. */
export class Away extends Error {}

/** It answers, but not what was asked for: `status` and `code` say why, the message says it to people. */
export class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail ?? problem.title ?? `the service answers ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.retry_ms = 1000 * (Number(retryAfter) || 0);
  }

  get needsToken() {
    return this.status === 401;
  }

  /** Asked again later, it may answer. */
  get passes() {
    return this.status === 429 || this.status === 503;
  }
}

export function isSignedIn() {
  return sessionStorage.getItem(TOKEN) !== null;
}

export function signIn(token) {
  sessionStorage.setItem(TOKEN, token);
}

export function signOut() {
  sessionStorage.removeItem(TOKEN);
}

/** What `GET path` answers. Throws Away or Refused. */
export async function ask(path, parameters = {}) {
  const url = new URL(path, document.baseURI);
  url.hash = "";
  url.search = new URLSearchParams(parameters).toString();
  const token = sessionStorage.getItem(TOKEN);
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  let response, body;
  try {
    response = await fetch(url, { headers, signal, cache: "no-store", credentials: "omit", redirect: "error" });
    body = await response.json();
  } catch (error) {
    if (response === undefined || error.name !== "SyntaxError") throw new Away(error.message);
    throw new Refused(response.status, { detail: `${path} was answered with something else than JSON` });
  }
  if (!response.ok) throw new Refused(response.status, body, response.headers.get("Retry-After"));
  return body;
}
