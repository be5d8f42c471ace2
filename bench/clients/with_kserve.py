"""Runs the client of KServe, unmodified, against a gateway.

It is a program of its own: its messages and those of Triton's client have the
same names, and cannot be loaded together.
"""

import asyncio
import sys

arguments, sys.argv = sys.argv, sys.argv[:1]  # kserve reads the command line where it is imported
import grpc
import httpx
from kserve import InferInput, InferRequest, InferenceGRPCClient, InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

import checks
from checks import A, B

sys.argv = arguments


def kserve_inputs(binary):
    inputs = []
    for name, value in (("INPUT0", A), ("INPUT1", B)):
        t = InferInput(name, list(value.shape), "INT32")
        t.set_data_from_numpy(value, binary_data=binary)
        inputs.append(t)
    return inputs


def check_kserve(r):
    outputs = {o.name: o.as_numpy() for o in r.outputs}
    assert (outputs["OUTPUT0"] == A + B).all() and (outputs["OUTPUT1"] == A - B).all(), outputs


def kserve_rest(s):
    async def run():
        config = RESTConfig(protocol="v2", verify=s.ca or True)
        c = InferenceRESTClient(config=config)
        base = f"{s.scheme}://{s.http}"
        assert await c.is_server_live(base, headers=s.headers) and await c.is_server_ready(base, headers=s.headers)
        assert await c.is_model_ready(base, "simple", headers=s.headers)
        for form in ("json", "binary"):
            binary = form == "binary"
            out = [RequestedOutput(n, {"binary_data": binary}) for n in ("OUTPUT0", "OUTPUT1")]
            q = InferRequest("simple", kserve_inputs(binary), request_id="kserve_rest_" + form, request_outputs=out)
            check_kserve(await c.infer(base, q, model_name="simple", headers=s.headers))
        try:
            await c.infer(base, InferRequest("nothing", kserve_inputs(False)), model_name="nothing", headers=s.headers)
        except httpx.HTTPStatusError as e:
            assert e.response.status_code == 404 and "unknown model" in str(e), e
        else:
            raise AssertionError("no error")
        await c.close()
    asyncio.run(run())


def kserve_grpc(s):
    async def run():
        creds = None
        if s.ca:
            with open(s.ca, "rb") as f:
                creds = grpc.ssl_channel_credentials(f.read())
        c = InferenceGRPCClient(s.grpc, use_ssl=bool(s.ca), creds=creds)
        meta = tuple(s.lower.items())
        assert await c.is_server_live(headers=meta) and await c.is_server_ready(headers=meta)
        assert await c.is_model_ready("simple", headers=meta)
        for form in ("typed", "raw"):
            q = InferRequest("simple", kserve_inputs(form == "raw"), request_id="kserve_grpc_" + form)
            check_kserve(await c.infer(q, headers=meta))
        try:
            await c.infer(InferRequest("nothing", kserve_inputs(True)), headers=meta)
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.NOT_FOUND, e
        else:
            raise AssertionError("no error")
        await c.close()
    asyncio.run(run())


CHECKS = [kserve_rest, kserve_grpc]

if __name__ == "__main__":
    checks.run(checks.Setup, CHECKS, __doc__)
