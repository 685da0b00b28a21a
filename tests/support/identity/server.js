// An OAuth2 server over HTTPS for the tests: a certified provider with the client credentials grant and
// introspection, and in front of it a route in the shape of Microsoft Entra ID, with Entra's error bodies.
//
//   node server.js CONFIG.json
//
// CONFIG is {address, port, key, certificate, tenant, clients: {id: secret}, mailboxes: [address],
// introspector: {id, secret}}; key and certificate are PEM. `PUT /control` changes what it does from then on,
// and `GET /control` tells: see `state`.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { parse } from "node:querystring";
import { text } from "node:stream/consumers";

import Provider from "oidc-provider";

const MICROSOFT_SCOPE = "https://outlook.office365.com/.default";
const ENTRA_PATH = /^\/([^/]+)\/oauth2\/v2\.0\/token$/;
const TOKEN_PATH = "/token";

const config = JSON.parse(readFileSync(process.argv[2], "utf8"));

const state = {
  lifetime: 3600, // seconds of the tokens given from now on
  down: false, // whether every request for a token is answered with 503
  throttled: 0, // how many requests for a token are answered with 429
  retryAfter: 1, // seconds, in the header of these
  generation: 1, // a token is active only in the one that it was issued in
  requests: 0, // for tokens, so far
  issued: 0, // tokens, so far
};

function client(id, secret, method, grants) {
  return {
    client_id: id,
    client_secret: secret,
    token_endpoint_auth_method: method,
    grant_types: grants,
    redirect_uris: [],
    response_types: [],
    scope: grants.length ? `mail.send ${MICROSOFT_SCOPE}` : undefined,
  };
}

const provider = new Provider(`https://localhost:${config.port}`, {
  clients: [
    client(config.introspector.id, config.introspector.secret, "client_secret_basic", []),
    ...Object.entries(config.clients).map(([id, secret]) =>
      client(id, secret, "client_secret_post", ["client_credentials"]),
    ),
  ],
  scopes: ["mail.send", "mail.admin", MICROSOFT_SCOPE],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: (_ctx, _client, token) => isCurrent(token) },
  },
  routes: { token: TOKEN_PATH, introspection: "/introspect" },
  ttl: { ClientCredentials: () => state.lifetime },
  // The mail server compares one attribute with the user, so each mailbox has an attribute of its own.
  extraTokenClaims: () => ({
    generation: state.generation,
    ...Object.fromEntries(config.mailboxes.map((mailbox, n) => [`mailbox_${n}`, mailbox])),
  }),
});

function isCurrent(token) {
  return token.extra?.generation === state.generation;
}

provider.use(async (ctx, next) => {
  if (ctx.path === "/control") {
    await control(ctx);
  } else if (ctx.path === TOKEN_PATH || ENTRA_PATH.test(ctx.path)) {
    await token(ctx, next);
  } else {
    await next();
  }
});

async function control(ctx) {
  if (ctx.method === "PUT") {
    Object.assign(state, JSON.parse(await text(ctx.req)));
  }
  ctx.body = state;
}

async function token(ctx, next) {
  state.requests += 1;
  if (state.down) {
    refuse(ctx, 503, { error: "temporarily_unavailable" });
  } else if (state.throttled > 0) {
    state.throttled -= 1;
    ctx.set("Retry-After", String(state.retryAfter));
    refuse(ctx, 429, { error: "temporarily_unavailable" });
  } else {
    await (ctx.path === TOKEN_PATH ? next() : entra(ctx, next));
    state.issued += ctx.status === 200 ? 1 : 0;
  }
}

// Entra ID checks the tenant, then the client, then the scope, and speaks in numbers.
async function entra(ctx, next) {
  const [, tenant] = ENTRA_PATH.exec(ctx.path);
  ctx.req.body = await text(ctx.req);
  const form = parse(ctx.req.body);
  if (tenant !== config.tenant) {
    return entraError(ctx, 400, "invalid_request", 90002, `Tenant '${tenant}' not found.`);
  }
  if (!(form.client_id in config.clients)) {
    return entraError(ctx, 400, "unauthorized_client", 700016, "Application was not found in the directory.");
  }
  if (!form.scope) {
    return entraError(ctx, 400, "invalid_request", 900144, "The request body must contain: 'scope'.");
  }
  if (!form.scope.endsWith("/.default")) {
    return entraError(ctx, 400, "invalid_scope", 1002012, "The provided value for scope is not valid.");
  }
  ctx.path = TOKEN_PATH;
  await next();
  if (ctx.body.error === "invalid_client") {
    entraError(ctx, 401, "invalid_client", 7000215, "Invalid client secret provided.");
  }
}

function entraError(ctx, status, error, number, sentence) {
  refuse(ctx, status, {
    error,
    error_description: `AADSTS${number}: ${sentence}`,
    error_codes: [number],
    timestamp: new Date().toISOString(),
    trace_id: randomUUID(),
    correlation_id: randomUUID(),
    error_uri: `https://login.microsoftonline.com/error?code=${number}`,
  });
}

function refuse(ctx, status, body) {
  ctx.status = status;
  ctx.body = body;
}

const tls = { key: config.key, cert: config.certificate };
createServer(tls, provider.callback()).listen(config.port, config.address);
