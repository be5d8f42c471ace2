"""Makes the files beside it: loans of a bank that does not exist, and two models
with an input for each column, as scikit-learn's pipelines are exported.

    pip install scikit-learn==1.9.* skl2onnx==1.20.* pandas onnxruntime && python make.py

It prints how often ONNX Runtime, asked column by column, is right.
"""

import numpy as np
import onnxruntime
import pandas as pd
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

rng = np.random.default_rng(7)
n = 400
loans = pd.DataFrame({
    "income": rng.normal(40, 12, n).clip(5, 90).round(2).astype(np.float32),
    "age": rng.integers(18, 80, n),
    "job": rng.integers(0, 3, n),
    "debt_ratio": rng.uniform(0, 1, n).round(3).astype(np.float32),
})
good = (loans.income / 20 - 4 * loans.debt_ratio + (loans.job == 1) - loans.age / 80 + rng.normal(0, 0.3, n) > 0.7).astype(int)

linear = Pipeline([
    ("columns", ColumnTransformer([
        ("scaled", StandardScaler(), ["income", "debt_ratio"]),
        ("kept", "passthrough", ["age"]),
        ("job", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["job"]),
    ])),
    ("model", LogisticRegression(max_iter=1000)),
])
boosted = Pipeline([
    ("columns", ColumnTransformer([("kept", "passthrough", list(loans.columns))])),
    ("model", GradientBoostingClassifier(n_estimators=20, random_state=0)),
])

# The file's columns are in another order than the models' inputs, and one of them has
# a blank where its input's name has none.
shown = loans.assign(good=good).sample(frac=1, random_state=1).head(100)
shown = shown[["age", "job", "debt_ratio", "income", "good"]]
shown.rename(columns={"debt_ratio": "debt ratio"}).to_csv("loans.csv", index=False)

types = [(c, Int64TensorType([None, 1]) if loans[c].dtype.kind == "i" else FloatTensorType([None, 1])) for c in loans]
for name, pipeline in ("linear", linear), ("boosted", boosted):
    pipeline.fit(loans, good)
    model = convert_sklearn(pipeline, initial_types=types, options={"zipmap": False}, target_opset=18)
    with open(name + ".onnx", "wb") as f:
        f.write(model.SerializeToString())
    session = onnxruntime.InferenceSession(name + ".onnx")
    feeds = {c: shown[[c]].to_numpy() for c in loans}
    print(name, (session.run(None, feeds)[0] == shown.good.to_numpy()).mean())
