"""Runs the clients of Triton, unmodified, against a gateway."""

import asyncio
import queue
import ssl

import grpc
import numpy as np
import tritonclient.grpc as tgrpc
import tritonclient.grpc.aio as tgrpc_aio
import tritonclient.http as thttp
import tritonclient.http.aio as thttp_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

import checks
from checks import A, B, IMAGE, words


class Setup(checks.Setup):
    """How Triton's clients are made."""

    def triton_http(self, module=thttp):
        more = {"ssl": True, "ssl_options": {"ca_certs": self.ca}} if self.ca else {}
        if self.ca and module is thttp_aio:
            more = {"ssl": True, "ssl_context": ssl.create_default_context(cafile=self.ca)}
        return module.InferenceServerClient(self.http, **more)

    def triton_grpc(self, module=tgrpc):
        more = {"ssl": True, "root_certificates": self.ca} if self.ca else {}
        return module.InferenceServerClient(self.grpc, **more)

    def channel(self):
        if self.ca:
            with open(self.ca, "rb") as f:
                return grpc.secure_channel(self.grpc, grpc.ssl_channel_credentials(f.read()))
        return grpc.insecure_channel(self.grpc)


def pair(module, binary=None, data=(A, B), datatype="INT32"):
    """The two inputs of the simple models."""
    inputs = []
    for name, value in zip(("INPUT0", "INPUT1"), data):
        tensor = module.InferInput(name, list(value.shape), datatype)
        if binary is None:
            tensor.set_data_from_numpy(value)
        else:
            tensor.set_data_from_numpy(value, binary_data=binary)
        inputs.append(tensor)
    return inputs


def check_pair(result, a=A, b=B, names=("OUTPUT0", "OUTPUT1")):
    for name, want in zip(names, (a + b, a - b)):
        got = result.as_numpy(name)
        assert got.shape == want.shape and (got.astype(np.int32) == want).all(), (name, got, want)


def fails(call, *words):
    """The error's text, which must hold all the words."""
    try:
        call()
    except InferenceServerException as e:
        assert all(w in str(e) for w in words), e
        return e
    raise AssertionError("no error")


# Triton over HTTP.


def triton_http_health(s):
    c = s.triton_http()
    assert c.is_server_live(headers=s.headers) and c.is_server_ready(headers=s.headers)
    assert c.is_model_ready("simple", headers=s.headers) and c.is_model_ready("simple", "1", headers=s.headers)
    assert not c.is_model_ready("no_such_model", headers=s.headers)


def triton_http_metadata(s):
    c = s.triton_http()
    assert "binary_tensor_data" in c.get_server_metadata(headers=s.headers)["extensions"]
    m = c.get_model_metadata("simple", headers=s.headers)
    assert [t["name"] for t in m["inputs"]] == ["INPUT0", "INPUT1"], m
    assert m["inputs"][0]["datatype"] == "INT32" and m["inputs"][0]["shape"] == [-1, 16], m
    fails(lambda: c.get_model_metadata("wrong_model_name", headers=s.headers), "Request for unknown model")


def triton_http_binary(s):
    out = [thttp.InferRequestedOutput(n, binary_data=True) for n in ("OUTPUT0", "OUTPUT1")]
    check_pair(s.triton_http().infer("simple", pair(thttp, True), outputs=out, request_id="triton_http_binary", headers=s.headers))


def triton_http_json(s):
    out = [thttp.InferRequestedOutput(n, binary_data=False) for n in ("OUTPUT0", "OUTPUT1")]
    r = s.triton_http().infer("simple", pair(thttp, False), outputs=out, request_id="triton_http_json", headers=s.headers)
    check_pair(r)
    assert r.get_response()["id"] == "triton_http_json" and r.get_response()["model_name"] == "simple"


def triton_http_mixed(s):
    a = pair(thttp, True)[:1] + pair(thttp, False)[1:]
    out = [thttp.InferRequestedOutput("OUTPUT1", binary_data=True), thttp.InferRequestedOutput("OUTPUT0", binary_data=False)]
    check_pair(s.triton_http().infer("simple", a, "1", outputs=out, request_id="triton_http_mixed", headers=s.headers))


def triton_http_all_outputs(s):
    check_pair(s.triton_http().infer("simple", pair(thttp), request_id="triton_http_all_outputs", headers=s.headers))


def triton_http_reused(s):
    c, inputs = s.triton_http(), pair(thttp, True)
    for a in (A, A + 1):
        inputs[0].set_data_from_numpy(a)
        check_pair(c.infer("simple", inputs, headers=s.headers), a)


def triton_http_gzip(s):
    r = s.triton_http().infer("simple", pair(thttp), request_id="triton_http_gzip", headers=s.headers,
                              request_compression_algorithm="gzip", response_compression_algorithm="gzip")
    check_pair(r)


def triton_http_deflate(s):
    many = np.tile(A, (64, 1)), np.tile(B, (64, 1))
    r = s.triton_http().infer("simple", pair(thttp, data=many), request_id="triton_http_deflate", headers=s.headers,
                              request_compression_algorithm="deflate", response_compression_algorithm="deflate")
    check_pair(r, *many)


def triton_http_async(s):
    c = s.triton_http()
    for call in [c.async_infer("simple", pair(thttp), headers=s.headers) for _ in range(8)]:
        check_pair(call.get_result())


def triton_http_aio(s):
    async def run():
        async with s.triton_http(thttp_aio) as c:
            r = await c.infer("simple", pair(thttp_aio), request_id="triton_http_aio", headers=s.headers)
            check_pair(r)
    asyncio.run(run())


def triton_http_strings(s):
    for form in ("binary", "json"):
        inputs = pair(thttp, form == "binary", (words(A), words(B)), "BYTES")
        out = [thttp.InferRequestedOutput(n, binary_data=form == "binary") for n in ("OUTPUT0", "OUTPUT1")]
        check_pair(s.triton_http().infer("simple_string", inputs, outputs=out, request_id="triton_http_strings_" + form, headers=s.headers))


def triton_http_half(s):
    half = IMAGE.astype(np.float16)
    x = thttp.InferInput("INPUT0", list(half.shape), "FP16")
    x.set_data_from_numpy(half)
    r = s.triton_http().infer("identity_fp16", [x], request_id="triton_http_half", headers=s.headers)
    assert (r.as_numpy("OUTPUT0") == half).all()
    out = [thttp.InferRequestedOutput("OUTPUT0", binary_data=False)]
    fails(lambda: s.triton_http().infer("identity_fp16", [x], outputs=out, headers=s.headers), "[400]", "FP16")


def triton_http_floats(s):
    for form in ("binary", "json"):
        x = thttp.InferInput("INPUT0", list(IMAGE.shape), "FP32")
        x.set_data_from_numpy(IMAGE, binary_data=form == "binary")
        out = [thttp.InferRequestedOutput("OUTPUT0", binary_data=form == "binary")]
        r = s.triton_http().infer("identity_fp32", [x], outputs=out, request_id="triton_http_floats_" + form, headers=s.headers)
        assert (r.as_numpy("OUTPUT0") == IMAGE).all()


def triton_http_errors(s):
    c = s.triton_http()
    fails(lambda: c.infer("wrong_model_name", pair(thttp), headers=s.headers), "[404]", "unknown model")
    fails(lambda: c.infer("simple", pair(thttp)[:1], headers=s.headers), "[400]", "INPUT1")
    fails(lambda: c.infer("simple", pair(thttp, data=(A[:, :8], B[:, :8])), headers=s.headers), "[400]", "shape")
    fails(lambda: c.infer("simple", pair(thttp, data=(words(A), words(B)), datatype="BYTES"), headers=s.headers), "[400]", "INT32")
    fails(lambda: c.infer("simple", pair(thttp)), "[401]")
    fails(lambda: c.infer("simple", pair(thttp), headers={"Authorization": "Bearer wrong"}), "[401]")
    shm = thttp.InferInput("INPUT0", [1, 16], "INT32")
    shm.set_shared_memory("region", 64)
    fails(lambda: c.infer("simple", [shm, pair(thttp)[1]], headers=s.headers), "[501]", "shared memory")


# Triton over gRPC.


def triton_grpc_health(s):
    c = s.triton_grpc()
    assert c.is_server_live(headers=s.lower) and c.is_server_ready(headers=s.lower) and c.is_model_ready("simple", headers=s.lower)


def triton_grpc_metadata(s):
    c = s.triton_grpc()
    m = c.get_model_metadata("simple", headers=s.lower)
    assert [t.name for t in m.outputs] == ["OUTPUT0", "OUTPUT1"] and list(m.inputs[0].shape) == [-1, 16], m
    fails(lambda: c.get_model_metadata("wrong_model_name", headers=s.lower), "NOT_FOUND", "Request for unknown model")


def triton_grpc_infer(s):
    out = [tgrpc.InferRequestedOutput(n) for n in ("OUTPUT0", "OUTPUT1")]
    check_pair(s.triton_grpc().infer("simple", pair(tgrpc), outputs=out, request_id="triton_grpc_infer", headers=s.lower))


def triton_grpc_gzip(s):
    for coding in ("gzip", "deflate"):
        check_pair(s.triton_grpc().infer("simple", pair(tgrpc), headers=s.lower, compression_algorithm=coding))


def triton_grpc_async(s):
    c, answers = s.triton_grpc(), queue.Queue()
    for _ in range(8):
        c.async_infer("simple", pair(tgrpc), callback=lambda result, error: answers.put((result, error)), headers=s.lower)
    for _ in range(8):
        result, error = answers.get(timeout=20)
        assert error is None, error
        check_pair(result)


def triton_grpc_aio(s):
    async def run():
        async with s.triton_grpc(tgrpc_aio) as c:
            check_pair(await c.infer("simple", pair(tgrpc_aio), headers=s.lower))
    asyncio.run(run())


def triton_grpc_stream(s):
    c, answers = s.triton_grpc(), queue.Queue()
    c.start_stream(lambda result, error: answers.put((result, error)), headers=s.lower)
    for _ in range(3):
        c.async_stream_infer("simple", pair(tgrpc))
    c.async_stream_infer("wrong_model_name", pair(tgrpc))
    for _ in range(3):
        result, error = answers.get(timeout=20)
        assert error is None, error
        check_pair(result)
    assert "unknown model" in str(answers.get(timeout=20)[1])
    c.stop_stream()


def triton_grpc_strings(s):
    inputs = pair(tgrpc, data=(words(A), words(B)), datatype="BYTES")
    check_pair(s.triton_grpc().infer("simple_string", inputs, request_id="triton_grpc_strings", headers=s.lower))


def triton_grpc_errors(s):
    c = s.triton_grpc()
    fails(lambda: c.infer("wrong_model_name", pair(tgrpc), headers=s.lower), "NOT_FOUND")
    fails(lambda: c.infer("simple", pair(tgrpc)[:1], headers=s.lower), "INVALID_ARGUMENT", "INPUT1")
    fails(lambda: c.infer("simple", pair(tgrpc)), "UNAUTHENTICATED")


def triton_grpc_explicit(s):
    """The explicit_*_content examples: typed contents, each in its field."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(s.channel())
    m = service_pb2.ModelInferRequest(model_name="simple", id="triton_grpc_explicit")
    for name, value in (("INPUT0", A), ("INPUT1", B)):
        t = m.inputs.add(name=name, datatype="INT32", shape=[1, 16])
        t.contents.int_contents.extend(int(v) for v in value.reshape(-1))
    r = stub.ModelInfer(m, metadata=tuple(s.lower.items()))
    assert not r.raw_output_contents and list(r.outputs[0].contents.int_contents) == list((A + B).reshape(-1)), r
    m = service_pb2.ModelInferRequest(model_name="simple_string", id="triton_grpc_explicit_bytes")
    for name, value in (("INPUT0", A), ("INPUT1", B)):
        t = m.inputs.add(name=name, datatype="BYTES", shape=[1, 16])
        t.contents.bytes_contents.extend(words(value).reshape(-1))
    r = stub.ModelInfer(m, metadata=tuple(s.lower.items()))
    assert [int(v) for v in r.outputs[1].contents.bytes_contents] == list((A - B).reshape(-1)), r


CHECKS = [
    triton_http_health, triton_http_metadata, triton_http_binary, triton_http_json, triton_http_mixed, triton_http_all_outputs,
    triton_http_reused, triton_http_gzip, triton_http_deflate, triton_http_async, triton_http_aio, triton_http_strings,
    triton_http_half, triton_http_floats, triton_http_errors,
    triton_grpc_health, triton_grpc_metadata, triton_grpc_infer, triton_grpc_gzip, triton_grpc_async, triton_grpc_aio,
    triton_grpc_stream, triton_grpc_strings, triton_grpc_errors, triton_grpc_explicit,
]

if __name__ == "__main__":
    checks.run(Setup, CHECKS, __doc__)
