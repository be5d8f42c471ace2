"""Signs and verifies with the reference implementation of OpenSSF Model Signing.

Reads a JSON object a line from stdin, answers each with one: {"error": ""}.
"""

import json
import pathlib
import sys

import model_signing
from cryptography.hazmat.primitives import serialization


def hashing(job):
    config = model_signing.hashing.Config()
    algorithm = {"blake2b": "blake2"}.get(job["hash"], job["hash"])
    if job["shard"]:
        config.use_shard_serialization(hashing_algorithm=algorithm, shard_size=job["shard"], allow_symlinks=job["links"])
    else:
        config.use_file_serialization(hashing_algorithm=algorithm, allow_symlinks=job["links"])
    config.set_allow_symlinks(job["links"])
    return config.set_ignored_paths(paths=job["ignore"])


def sign(job):
    config = model_signing.signing.Config().set_hashing_config(hashing(job))
    if job["chain"]:
        config.use_certificate_signer(
            private_key=job["key"], signing_certificate=job["chain"][0], certificate_chain=[pathlib.Path(c) for c in job["chain"][1:]])
    else:
        config.use_elliptic_key_signer(private_key=job["key"], password=job["password"] or None)
    config.sign(job["model"], job["signature"])


def verify(job):
    config = model_signing.verifying.Config()
    if job["hash"] != "sha256" or job["guess"] is False:
        config.set_hashing_config(hashing(job))
    if job["roots"]:
        config.use_certificate_verifier(certificate_chain=[pathlib.Path(r) for r in job["roots"]])
    else:
        config.use_elliptic_key_verifier(public_key=job["public"])
    config.verify(pathlib.Path(job["model"]), pathlib.Path(job["signature"]))


def mldsa(job):
    """Verifies an ML-DSA signature over the DSSE encoding, by OpenSSL."""
    import base64
    bundle = json.loads(pathlib.Path(job["signature"]).read_text())
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"]
    message = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    private = serialization.load_pem_private_key(pathlib.Path(job["key"]).read_bytes(), job["password"].encode() if job["password"] else None)
    public = serialization.load_pem_public_key(pathlib.Path(job["public"]).read_bytes())
    if private.public_key().public_bytes_raw() != public.public_bytes_raw():
        raise ValueError("the keys do not belong together")
    public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), message)


def load(job):
    """Reads an encrypted key as OpenSSL does."""
    serialization.load_pem_private_key(pathlib.Path(job["key"]).read_bytes(), job["password"].encode())


def make(job):
    """Makes keys as OpenSSL does, one of them encrypted."""
    from cryptography.hazmat.primitives.asymmetric import ec, mldsa
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    if job["hash"] == "ec":
        key = ec.generate_private_key(ec.SECP384R1())
        protect = serialization.BestAvailableEncryption(job["password"].encode())
    else:
        key = mldsa.MLDSA65PrivateKey.generate()
        protect = serialization.NoEncryption()
    pathlib.Path(job["key"]).write_bytes(key.private_bytes(pem, pkcs8, protect))
    pathlib.Path(job["public"]).write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))


for line in sys.stdin:
    job = json.loads(line)
    try:
        {"sign": sign, "verify": verify, "mldsa": mldsa, "load": load, "make": make}[job["do"]](job)
        answer = ""
    except Exception as e:
        answer = f"{type(e).__name__}: {e}"[:400]
    print(json.dumps({"error": answer}), flush=True)
