// The page: looks at the service again and again, and shows what it says.

import { answers } from "./answers.js";
import { element, fill } from "./dom.js";
import { figures } from "./figures.js";
import { NONE_HELD, NONE_LOADED, damage, prefixes } from "./holdings.js";
import { engines, reuse } from "./reuse.js";
import { Search } from "./search.js";
import { Away, Refused, ask, isSignedIn, signIn, signOut } from "./service.js";
import { Ticker } from "./ticker.js";
import { tierBars } from "./tiers.js";
import { Traffic } from "./traffic.js";
import { age, clock } from "./units.js";

const EVERY_MS = 5_000;
const MOST_OF_THE_TIME = 0.1; // what a walk over all that is held may take, however large the store
const CHIPS = { starting: "Connecting", live: "Live", paused: "Paused", away: "Offline", busy: "Busy", locked: "Locked" };

const part = (id) => document.getElementById(id);
const traffic = new Traffic(part("traffic"));
const search = new Search(askForToken);
const ticker = new Ticker(look, EVERY_MS);
let corrupt = 0;

const STATUS = { path: "v1/status", parameters: { history: true }, views: ["figures"], show: showStatus, due_ms: 0 };
const OTHERS = [
  { path: "v1/reports", views: ["reuse", "engines"], show: showReports, due_ms: 0 },
  prefixesBy("hits", "hottest", "Hottest prefixes", NONE_LOADED),
  prefixesBy("bytes", "biggest", "Biggest prefixes", NONE_HELD),
  { path: "v1/quarantined", views: ["damage"], show: (found) => fill(part("damage"), ...damage(found, corrupt)), due_ms: 0 },
];
const ANSWERS = { path: "v1/categories", views: ["answers"], show: showAnswers, walks: true, due_ms: 0 }; // a proxy's

function prefixesBy(by, view, label, none) {
  const show = (found) => fill(part(view), ...prefixes(label, found, none));
  return { path: "v1/prefixes", parameters: { by, limit: 10 }, views: [view], show, walks: true, due_ms: 0 };
}

function showStatus(status) {
  corrupt = status.counters.chunks_corrupt;
  const about = [`version ${status.version}`, status.path, `up ${age(status.uptime_s)}`];
  fill(part("about"), about.filter(Boolean).join(" · "));
  fill(part("figures"), ...figures(status));
  fill(part("tiers"), ...tierBars(status.tiers));
  traffic.show(status.history);
  part("answers-card").hidden = !status.keeps_answers;
}

function showAnswers({ categories }) {
  fill(part("answers"), ...answers(categories));
}

function showReports(reports) {
  fill(part("reuse"), ...reuse(reports));
  fill(part("engines"), ...engines(reports));
}

/** One look at everything. How long to wait at least before the next one; null: there is none. */
async function look() {
  try {
    const isFirst = part("board").hidden;
    await lookAt(STATUS);
    if (isFirst) search.run();
    const others = part("answers-card").hidden ? OTHERS : [...OTHERS, ANSWERS];
    const failed = (await Promise.allSettled(others.map(lookAt))).find(({ status }) => status === "rejected");
    if (failed) throw failed.reason;
    part("updated").textContent = clock(Date.now() / 1000);
    tell(ticker.isPaused ? "paused" : "live");
    return 0;
  } catch (error) {
    return failedWith(error);
  }
}

async function lookAt(source) {
  const begun_ms = performance.now();
  if (begun_ms < source.due_ms) return;
  try {
    const answer = await ask(source.path, source.parameters);
    part("board").hidden = false;
    source.show(answer);
  } catch (error) {
    if (!(error instanceof Refused) || error.needsToken || error.passes) throw error;
    refused(source, error);
    return;
  }
  const ended_ms = performance.now();
  if (source.walks) source.due_ms = ended_ms + (ended_ms - begun_ms) / MOST_OF_THE_TIME;
}

/** What this caller may not see is not asked for again; it is in no tenant's board. */
function refused(source, error) {
  const isForbidden = error.status === 403;
  part("board").hidden = false;
  if (source === STATUS) part("board").classList.toggle("tenants", isForbidden);
  const said = isForbidden ? "This is of all tenants together: it takes the admin's token." : error.message;
  for (const view of source.views) fill(part(view), element("p", { class: "empty" }, said));
  if (isForbidden) source.due_ms = Infinity;
}

function failedWith(error) {
  const again = `This page tries again every ${EVERY_MS / 1000} s.`;
  if (error instanceof Away) {
    const shown = part("board").hidden ? "" : `What is shown is as of ${part("updated").textContent}. `;
    tell("away", `The service at ${location.host} does not answer. ${shown}${again}`);
    return 0;
  }
  if (error instanceof Refused && error.needsToken) {
    askForToken();
    return null;
  }
  if (error instanceof Refused) {
    tell("busy", `The service asks for patience: ${error.message}. ${again}`);
    return error.retry_ms;
  }
  console.error(error);
  tell("busy", `What the service says cannot be shown: ${error.message}`);
  return 0;
}

function tell(state, notice = "") {
  const chip = part("state");
  if (chip.dataset.state !== state) chip.textContent = CHIPS[state];
  chip.dataset.state = state;
  part("notice").hidden = !notice;
  if (part("notice").textContent !== notice) part("notice").textContent = notice;
  part("board").classList.toggle("stale", state === "away");
  part("sign-out").hidden = !isSignedIn();
}

/** Shows nothing until a token is given: what another one showed goes with a reload. */
function askForToken() {
  if (!part("board").hidden) {
    location.reload();
    return;
  }
  const reason = isSignedIn() ? "That token is not known here." : "This service answers to who has a token.";
  signOut();
  tell("locked");
  part("sign-in-reason").textContent = reason;
  part("sign-in").hidden = false;
  part("token").focus();
}

part("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(part("token").value.trim());
  part("token").value = "";
  part("sign-in").hidden = true;
  tell("starting");
  ticker.start();
});

part("sign-out").addEventListener("click", () => {
  signOut();
  history.replaceState(null, "", location.pathname);
  location.reload();
});

part("pause").addEventListener("click", () => {
  const isPaused = !ticker.isPaused;
  part("pause").setAttribute("aria-pressed", isPaused);
  part("pause").textContent = isPaused ? "Resume" : "Pause";
  if (isPaused && part("state").dataset.state === "live") tell("paused");
  ticker.pause(isPaused);
});

ticker.start();
