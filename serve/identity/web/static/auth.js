// What the pages need a script for: passkeys, and the secret in the fragment of
// an enrolment link, which browsers send to nobody.
"use strict";

const decode = text => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), c => c.charCodeAt(0));
const encode = buffer => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

async function post(path, body) {
	const response = await fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
	const answer = await response.json();
	if (!response.ok) {
		throw new Error(answer.error);
	}
	return answer;
}

async function create(options) {
	const o = options.publicKey;
	o.challenge = decode(o.challenge);
	o.user.id = decode(o.user.id);
	(o.excludeCredentials || []).forEach(c => { c.id = decode(c.id); });
	const made = await navigator.credentials.create(options);
	return {
		id: made.id, rawId: encode(made.rawId), type: made.type, authenticatorAttachment: made.authenticatorAttachment || undefined,
		clientExtensionResults: made.getClientExtensionResults(),
		response: {
			clientDataJSON: encode(made.response.clientDataJSON), attestationObject: encode(made.response.attestationObject),
			transports: made.response.getTransports ? made.response.getTransports() : [],
		},
	};
}

async function get(options) {
	const o = options.publicKey;
	o.challenge = decode(o.challenge);
	(o.allowCredentials || []).forEach(c => { c.id = decode(c.id); });
	const shown = await navigator.credentials.get(options);
	const r = shown.response;
	return {
		id: shown.id, rawId: encode(shown.rawId), type: shown.type, authenticatorAttachment: shown.authenticatorAttachment || undefined,
		clientExtensionResults: shown.getClientExtensionResults(),
		response: {
			clientDataJSON: encode(r.clientDataJSON), authenticatorData: encode(r.authenticatorData),
			signature: encode(r.signature), userHandle: r.userHandle ? encode(r.userHandle) : undefined,
		},
	};
}

const ways = {
	login: {path: "/auth/passkey", ask: get},
	confirm: {path: "/auth/passkey", ask: get, confirm: true},
	enrol: {path: "/auth/enrol/passkey", ask: create},
	add: {path: "/auth/account/passkey", ask: create},
};

function show(codes, to) {
	const main = document.querySelector("main");
	const heading = document.createElement("h1");
	heading.textContent = "Recovery codes";
	const text = document.createElement("p");
	text.textContent = "Each of these works once, in place of your passkey. Keep them where you would find them without this device. They are not shown again.";
	const list = document.createElement("ul");
	list.className = "codes";
	for (const code of codes) {
		const item = document.createElement("li");
		const inner = document.createElement("code");
		inner.textContent = code;
		item.append(inner);
		list.append(item);
	}
	const on = document.createElement("a");
	on.className = "button primary";
	on.href = to;
	on.textContent = "I have kept them";
	main.replaceChildren(heading, text, list, on);
	heading.tabIndex = -1;
	heading.focus();
}

async function passkey(button) {
	const way = ways[button.dataset.passkey];
	const about = {secret: button.dataset.secret, return: button.dataset.return, confirm: way.confirm};
	const error = document.getElementById("error");
	error.hidden = true;
	button.disabled = true;
	try {
		if (!window.PublicKeyCredential) {
			throw new Error("This browser knows no passkeys.");
		}
		const response = await way.ask(await post(way.path + "/begin", about));
		const answer = await post(way.path + "/finish", {...about, response});
		if (answer.codes) {
			show(answer.codes, answer.to);
		} else {
			location.assign(answer.to);
		}
	} catch (e) {
		error.textContent = e.name === "NotAllowedError" ? "It was cancelled, or no passkey for this site was found." : e.message;
		error.hidden = false;
		button.disabled = false;
	}
}

for (const button of document.querySelectorAll("[data-passkey]")) {
	button.addEventListener("click", () => passkey(button));
}

const enrol = document.getElementById("enrol");
if (enrol && location.hash.length > 1) {
	enrol.elements.secret.value = decodeURIComponent(location.hash.slice(1));
	history.replaceState(null, "", location.pathname);
	enrol.requestSubmit();
}
