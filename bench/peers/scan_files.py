"""Writes model files with the frameworks themselves: every estimator of
scikit-learn as pickle and with joblib, NumPy, XGBoost, LightGBM, pandas,
safetensors, HDF5, and PyTorch and Keras where SCAN_TORCH and SCAN_TF ask for
them."""

import argparse
import collections
import datetime
import os
import pickle
import sys
import warnings

import h5py
import joblib
import numpy as np

warnings.filterwarnings("ignore")
out = sys.argv[1]
os.makedirs(out, exist_ok=True)


def path(name):
    return os.path.join(out, name)


def dump(obj, name, protocol=None):
    with open(path(name), "wb") as f:
        pickle.dump(obj, f, protocol=protocol)


def values():
    for p in range(6):
        dump({"a": np.arange(10.0), "b": [1, 2.5, None, True, "x", b"y"], "c": np.float32(1), "d": collections.defaultdict(list, {"k": [1]}),
              "e": datetime.datetime(2020, 1, 1), "f": {1, 2}, "g": frozenset([1]), "o": collections.OrderedDict(a=1), "n": collections.Counter("aab"),
              "q": collections.deque([1], 5), "x": 1j, "t": datetime.timedelta(1), "big": 1 << 100, "u": "é€", "y": bytearray(b"zz"),
              "args": argparse.Namespace(lr=0.1)}, f"values_p{p}.pkl", p)


def arrays():
    np.save(path("a.npy"), np.zeros((3, 4)))
    np.save(path("objects.npy"), np.array([1, {"a": 2}], dtype=object), allow_pickle=True)
    np.savez(path("a.npz"), a=np.zeros(3), b=np.arange(5))
    np.savez_compressed(path("packed.npz"), a=np.zeros(300), b=np.arange(5))
    joblib.dump({"x": np.zeros((3, 4), "f4"), "s": np.array(["a", "bb"]), "m": np.ma.masked_array([1, 2], [0, 1]),
                 "r": np.random.RandomState(0), "g": np.random.default_rng(0)}, path("arrays.joblib"))
    # Large files: most of a scanner's work on real checkpoints is passing over numbers.
    big = np.random.default_rng(0).standard_normal(1 << 23)
    dump({"w": big}, "large.pkl", 4)
    joblib.dump({"w": big}, path("large.joblib"))
    np.savez(path("large.npz"), w=big)
    # Many small values.
    dump([{"id": i, "name": f"token {i}", "score": i / 7} for i in range(200_000)], "vocabulary.pkl", 4)


def estimators():
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
    from sklearn.utils import all_estimators

    x, y = make_classification(60, 6, random_state=0)
    x = np.abs(x)
    for name, kind in all_estimators():
        for args in ([], [LogisticRegression()], [[("a", LogisticRegression())]], [SVC(), {"C": [1, 2]}]):
            try:
                e = kind(*args)
                break
            except TypeError:
                continue
        for data in ((x, y), (x[:, 0], y)):
            try:
                e.fit(*data)
                break
            except Exception:
                continue
        dump(e, f"sk_{name}.pkl")
        joblib.dump(e, path(f"sk_{name}.joblib"))
    m = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)).fit(x, y)
    for c in ["zlib", "gzip", "bz2", "lzma", "xz"]:
        joblib.dump(m, path(f"pipeline_{c}.joblib"), compress=(c, 3))
    for p in (0, 1, 2, 3, 4, 5):
        dump(m, f"pipeline_p{p}.pkl", p)
    joblib.dump(GridSearchCV(SVC(), {"C": [1, 2]}, cv=2).fit(x, y), path("grid.joblib"))
    return x, y


def boosting(x, y):
    import lightgbm
    import xgboost

    for name, e in (("classifier", xgboost.XGBClassifier(n_estimators=3)), ("regressor", xgboost.XGBRegressor(n_estimators=3))):
        e.fit(x, y)
        dump(e, f"xgb_{name}.pkl")
        joblib.dump(e, path(f"xgb_{name}.joblib"))
        e.save_model(path(f"xgb_{name}.json"))
    dump(e.get_booster(), "xgb_booster.pkl")
    m = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(x, y)
    dump(m, "lgb.pkl")
    joblib.dump(m, path("lgb.joblib"))
    dump(m.booster_, "lgb_booster.pkl")
    m.booster_.save_model(path("lgb.txt"))


def tables():
    import pandas as pd
    from safetensors.numpy import save_file

    dump(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "frame.pkl")
    save_file({"a": np.zeros((3, 4), "f4"), "b": np.arange(5)}, path("m.safetensors"), metadata={"format": "np"})
    for version in ("earliest", "latest"):
        with h5py.File(path(f"{version}.h5"), "w", libver=version) as f:
            f.create_group("a/b")["x"] = np.zeros(5)
            f.attrs["keras_version"] = "3.0.0"
            f.create_dataset("c", data=np.zeros((10, 10)), compression="gzip", chunks=True)


def torch_files():
    import torch

    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4, 3))
    opt = torch.optim.Adam(net.parameters())
    net(torch.zeros(2, 1, 3, 3)).sum().backward()
    opt.step()
    x = torch.arange(24.0).reshape(2, 3, 4)
    mixed = {"t": x.transpose(0, 1), "v": x[1:, :, ::2], "shared": [x, x[0]], "bf": x.bfloat16(), "p": torch.nn.Parameter(x), "dev": torch.device("cpu")}
    for name, obj in (("state", net.state_dict()), ("mixed", mixed), ("checkpoint", {"model": net.state_dict(), "opt": opt.state_dict(), "epoch": 3}),
                      ("network", net), ("sparse", torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (3,))), ("float8", x.to(torch.float8_e4m3fn))):
        torch.save(obj, path(f"torch_{name}.pt"))
        if name != "float8":
            torch.save(obj, path(f"torch_{name}_legacy.pt"), _use_new_zipfile_serialization=False)
    torch.save({f"l{i}": torch.randn(1 << 23) for i in range(4)}, path("torch_large.pt"))
    dump(x, "torch_tensor.pkl")


def keras_files():
    import keras
    import tensorflow as tf

    m = keras.Sequential([keras.layers.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.BatchNormalization(),
                          keras.layers.Flatten(), keras.layers.Dropout(0.2), keras.layers.Dense(3, activation="softmax", kernel_regularizer="l2")])
    m.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    m.fit(np.zeros((4, 8, 8, 1)), np.zeros(4), verbose=0)
    m.save(path("keras.keras"))
    m.save(path("keras.h5"))
    m.save_weights(path("keras.weights.h5"))
    m.export(path("keras_export"), verbose=False)
    tf.saved_model.save(m, path("saved_model"))
    tf.train.Checkpoint(v=tf.Variable(1.0)).save(path("tf_checkpoint"))


values()
arrays()
boosting(*estimators())
tables()
if os.environ.get("SCAN_TORCH"):
    torch_files()
if os.environ.get("SCAN_TF"):
    keras_files()
