#!/usr/bin/env python3
"""gen_ml.py - writes ml.txt: expected values of ai.onnx.ml from onnx.reference, from ONNX Runtime where that does not say
(as noted), or from arithmetic stated here.

Needs onnx (1.23), onnxruntime and numpy; run by hand: python gen_ml.py > ml.txt
SPDX-License-Identifier: Apache-2.0
"""
import numpy as np
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator

from gen_text import model, strings, write

rng = np.random.default_rng(3)
X = np.array([[1, 2, -3], [-1, 0.5, 4], [0.1, -0.2, 0]], np.float32)
nan = np.float32("nan")
ort.set_default_logger_severity(4)


def case(op, *ins, nout=1, want=None, by="ref", opset=3, note="", tol=None, **attrs):
    ins = [strings(x) if isinstance(x, list) else x for x in ins]
    m = model(op, ins, nout, "ai.onnx.ml", opset, attrs)
    feed = {"x%d" % i: x for i, x in enumerate(ins)}
    if want is None and by == "ref":
        want = ReferenceEvaluator(m).run(None, feed)
    elif want is None:
        want = ort.InferenceSession(m.SerializeToString()).run(None, feed)
        note += " (as ONNX Runtime)"
    write("ai.onnx.ml." + op, ins, want, attrs, note, tol)


def features():
    case("ArrayFeatureExtractor", X, np.array([2, 0]))
    case("ArrayFeatureExtractor", X[0], np.array([[1, 1]]))
    case("ArrayFeatureExtractor", strings(["a", "b", "c", "d"], (2, 2)), np.array([1]))
    for t in (np.float32, np.float64, np.int64, np.int32):
        case("Binarizer", X.astype(t), threshold=0.25)
        case("Scaler", X.astype(t), offset=[0.5, 1.0, -2.0], scale=[2.0, 0.25, 1.0], want=[
            ((X.astype(t) - np.float32([0.5, 1, -2])) * np.float32([2, 0.25, 1])).astype(np.float32)])
        for norm in ("MAX", "L1", "L2"):
            a = np.abs(X.astype(t).astype(np.float64))
            d = {"MAX": a.max(1), "L1": a.sum(1), "L2": np.sqrt((a * a).sum(1))}[norm][:, None]
            d[d == 0] = 1
            case("Normalizer", X.astype(t), norm=norm, want=[(X.astype(t) / d).astype(np.float32)])
    case("Scaler", X, offset=[0.5], scale=[2.0])
    case("Normalizer", X[0], norm="L2", by="ort")
    case("Imputer", np.array([[nan, 1, 2], [3, nan, nan]], np.float32), imputed_value_floats=[7.0, 8.0, 9.0], replaced_value_float=float("nan"))
    case("Imputer", np.array([[0, 1, 2], [3, 0, 0]], np.float64), imputed_value_floats=[7.5], replaced_value_float=0.0)
    case("Imputer", np.array([[0, 1, 2], [3, 0, 0]]), imputed_value_int64s=[7, 8, 9], replaced_value_int64=0)
    case("FeatureVectorizer", X, X[:, :1], inputdimensions=[3, 1])
    case("FeatureVectorizer", X, X[:, :2], inputdimensions=[2, 4])
    case("FeatureVectorizer", np.array([1, 2]), inputdimensions=[2], by="ort")
    case("OneHotEncoder", np.array([[3, 1, 5]]), cats_int64s=[1, 3, 4])
    case("OneHotEncoder", np.array([3, 1], np.int32), cats_int64s=[1, 3, 4], zeros=0)
    case("OneHotEncoder", np.array([3.7, -1, 1], np.float32), cats_int64s=[1, 3, -1], by="ort")
    case("OneHotEncoder", ["b", "x", "a"], cats_strings=["a", "b"])


def labels():
    case("LabelEncoder", ["a", "x", "b"], keys_strings=["a", "b"], values_int64s=[5, 6], default_int64=-2, opset=2)
    case("LabelEncoder", np.array([5, 9, 6]), keys_int64s=[5, 6], values_strings=["a", "b"], default_string="none", opset=2)
    case("LabelEncoder", np.array([5, 9, 6]), keys_int64s=[5, 6], values_floats=[0.5, 0.25], opset=2, default_float=-1.0)
    case("LabelEncoder", np.array([nan, 1, -0.0, 3], np.float32), keys_floats=[1.0, float("nan"), 0.0], values_int64s=[1, 2, 3],
         opset=2, want=[np.array([2, 1, 3, -1])], note=" NaN matches NaN, -0 is 0")
    case("LabelEncoder", np.array([1, 2]), keys_int64s=[1, 1], values_int64s=[7, 8], opset=2, want=[np.array([8, -1])],
         note=" the last of equal keys counts")
    big = list(range(-40, 80, 3))
    case("LabelEncoder", np.arange(-50, 90), keys_int64s=big, values_floats=[k / 4 for k in big], opset=2, default_float=99.0)
    case("LabelEncoder", np.array([1.5, 2.5]), keys_tensor=np.array([2.5, 7]), values_tensor=np.array([1, 2]),
         default_tensor=np.array([-9]), want=[np.array([-9, 1])], opset=4)
    case("CategoryMapper", ["b", "z"], cats_int64s=[4, 5], cats_strings=["a", "b"], default_int64=-3, by="ort")
    case("CategoryMapper", np.array([4, 9]), cats_int64s=[4, 5], cats_strings=["a", "b"], default_string="?", by="ort")


def maps():
    case_map("ZipMap", X[:2], [[dict(zip([1, 2, 3], r)) for r in X[:2]]], classlabels_int64s=[1, 2, 3])
    case_map("ZipMap", X[0], [[dict(zip(["a", "b", "c"], X[0]))]], classlabels_strings=["a", "b", "c"])
    case_map("DictVectorizer", {"a": 4, "c": 8, "zz": 1}, [np.array([[4, 8, 0, 0]])], string_vocabulary=["a", "c", "b", "z"])
    case_map("DictVectorizer", {3: 1.5, 1: 2.5}, [np.array([[2.5, 0, 1.5]])], int64_vocabulary=[1, 2, 3])
    case_map("DictVectorizer", {3: "c", 1: "a"}, [strings(["a", "", "c"], (1, 3))], int64_vocabulary=[1, 2, 3])
    f32 = {3: np.float32(1.5), 1: np.float32(2.75)}
    case_map("CastMap", f32, [np.array([[2.75, 1.5]], np.float32)])
    case_map("CastMap", f32, [np.array([[0, 2, 0, 1, 0]])], cast_to="TO_INT64", map_form="SPARSE", max_map=5)
    case_map("CastMap", f32, [strings(["2.75", "1.5"], (1, 2))], cast_to="TO_STRING")
    case_map("CastMap", {3: "1.5", 1: "2"}, [np.array([[0, 2, 0, 1.5]], np.float32)], map_form="SPARSE", max_map=4)


def case_map(op, x, want, **attrs):
    write("ai.onnx.ml." + op, [x], want, attrs, " stated here")


POST = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")


def linear():
    for post in POST:
        x, tol = (X, 1e-5) if post != "PROBIT" else (X / 20, 3e-3)
        case("LinearRegressor", x, coefficients=[0.1, 0.2, 0.3, 0.1, 0.3, -0.1], intercepts=[0.25, 0.5], targets=2, post_transform=post, by="ort",
             tol=tol)
        case("LinearClassifier", x, nout=2, coefficients=[0.1, 0.2, 0.3, 0.1, 0.3, -0.1, 0.2, 0.1, 0.1], intercepts=[0.25, 0.5, 0.4],
             classlabels_ints=[7, 8, 9], post_transform=post, tol=tol, by="ort")
    for post in ("NONE", "LOGISTIC", "SOFTMAX"):
        case("LinearClassifier", X, nout=2, coefficients=[0.1, 0.2, 0.3], intercepts=[0.05], classlabels_ints=[7, 8], post_transform=post, tol=1e-5)
    case("LinearClassifier", X, nout=2, coefficients=[0.1, 0.2, 0.3], classlabels_strings=["no", "yes"], by="ort", intercepts=[0.05],
         post_transform="LOGISTIC", tol=1e-5)
    case("LinearClassifier", X.astype(np.int64), nout=2, coefficients=[0.5, 0.25, -0.5, 0.5, 0.0, 0.75], intercepts=[0.0, 0.0], classlabels_ints=[7, 8], by="ort")


def svm():
    def f(*n):
        return [float(v) for v in rng.normal(size=n).astype(np.float32).ravel()]
    sv = dict(kernel_params=[0.5, 0.25, 3.0], n_supports=2, rho=[0.5])
    for kernel in ("LINEAR", "POLY", "RBF", "SIGMOID"):
        a = dict(sv, coefficients=f(2), support_vectors=f(2, 3), kernel_type=kernel)
        case("SVMRegressor", X, tol=1e-5, **a)
        case("SVMRegressor", X, one_class=1, **a)
        for k in (2, 3):
            s, p = 2 * k, k * (k - 1) // 2
            a = dict(kernel_params=[0.5, 0.25, 3.0], kernel_type=kernel, coefficients=f(k - 1, s), support_vectors=f(s, 3), rho=f(p),
                     vectors_per_class=[2] * k, classlabels_ints=list(range(10, 10 + k)))
            case("SVMClassifier", X, nout=2, tol=1e-5, **a)
            case("SVMClassifier", X, nout=2, tol=2e-5, prob_a=[-1.5] * p, prob_b=[0.125] * p, by="ort", **a)
            case("SVMClassifier", X, nout=2, tol=1e-5, post_transform="SOFTMAX", **a)
    case("SVMRegressor", X, coefficients=f(3), rho=[0.5], n_supports=0, kernel_type="LINEAR", tol=1e-5)
    case("SVMClassifier", X, nout=2, coefficients=f(3, 3), rho=[0.5, 0.5, 0.5], classlabels_ints=[1, 2, 3], kernel_params=[0.0, 0.0, 0.0], tol=1e-5)
    case("SVMClassifier", X, nout=2, coefficients=f(3, 3), rho=[0.5, 0.5, 0.5], classlabels_strings=["a", "b", "c"], post_transform="LOGISTIC",
         kernel_params=[0.0, 0.0, 0.0], tol=1e-5, by="ort")


MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]


def old_trees(ntree, depth, modes, prefix, targets, each, missing, positive=False):
    """Complete trees over three features; weights are multiples of 1/64, so that sums are exact in any order."""
    a = {"nodes_" + k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")}
    a.update({prefix + "_" + k: [] for k in ("treeids", "nodeids", "ids", "weights")})
    if missing:
        a["nodes_missing_value_tracks_true"] = []
    inner = 2**depth - 1
    for t in range(ntree):
        for i in range(2 * inner + 1):
            a["nodes_treeids"].append(t)
            a["nodes_nodeids"].append(i)
            leaf = i >= inner
            a["nodes_featureids"].append(0 if leaf else int(rng.integers(3)))
            a["nodes_values"].append(0.0 if leaf else float(rng.choice([-1, 0, 0.5, 1, 2])))
            a["nodes_modes"].append("LEAF" if leaf else str(rng.choice(modes)))
            a["nodes_truenodeids"].append(0 if leaf else 2 * i + 1)
            a["nodes_falsenodeids"].append(0 if leaf else 2 * i + 2)
            if missing:
                a["nodes_missing_value_tracks_true"].append(int(rng.integers(2)))
            for c in (range(targets) if each else [t % targets]) if leaf else ():
                a[prefix + "_treeids"].append(t)
                a[prefix + "_nodeids"].append(i)
                a[prefix + "_ids"].append(c)
                a[prefix + "_weights"].append(float(rng.integers(0 if positive else -32, 32)) / 64)
    return a


def trees():
    x = rng.choice(np.array([-2, -1, 0, 0.25, 0.5, 1, 2, 3], np.float32), size=(11, 3))
    gap = np.where(rng.random(x.shape) < 0.3, nan, x).astype(np.float32)
    for mode in MODES:
        a = old_trees(2, 2, [mode], "target", 1, False, False)
        case("TreeEnsembleRegressor", x, n_targets=1, by="ort", **a)
        a = old_trees(2, 2, [mode], "target", 1, False, True)
        if mode != "BRANCH_NEQ":
            case("TreeEnsembleRegressor", gap, n_targets=1, **a)
    a = old_trees(5, 3, MODES, "target", 2, False, False)
    for agg in ("SUM", "AVERAGE", "MIN", "MAX"):
        case("TreeEnsembleRegressor", x, n_targets=2, aggregate_function=agg, by="ort", base_values=[0.5, -0.25], **a)
    a = old_trees(3, 2, MODES[:4], "target", 3, True, False)
    for post in POST[:4]:
        case("TreeEnsembleRegressor", x, n_targets=3, post_transform=post, by="ort", tol=1e-5, **a)
    case("TreeEnsembleRegressor", np.trunc(x).astype(np.int64), n_targets=3, want=ReferenceEvaluator(
        model("TreeEnsembleRegressor", [x], 1, "ai.onnx.ml", 3, dict(a, n_targets=3))).run(None, {"x0": np.trunc(x)}), **a)
    case("TreeEnsembleRegressor", x.astype(np.float64), n_targets=3, by="ort", **a)
    for post in POST[:4]:
        a = old_trees(6, 2, ["BRANCH_LEQ"], "class", 3, post == "NONE", True)
        case("TreeEnsembleClassifier", gap, nout=2, classlabels_int64s=[5, 6, 7], post_transform=post, tol=1e-5, **a)
        case("TreeEnsembleClassifier", x, nout=2, classlabels_strings=["a", "b", "c"], post_transform=post, tol=1e-5, by="ort", **a)
        a = old_trees(6, 2, ["BRANCH_LEQ"], "class", 1, False, True)
        if post in ("NONE", "LOGISTIC"):
            case("TreeEnsembleClassifier", x, nout=2, classlabels_int64s=[5, 6], post_transform=post, tol=1e-5, by="ort", **a)
            case("TreeEnsembleClassifier", x, nout=2, classlabels_int64s=[5, 6], base_values=[0.125], post_transform=post, tol=1e-5, by="ort", **a)
        else:
            case("TreeEnsembleClassifier", x, nout=2, classlabels_int64s=[5, 6], post_transform=post, tol=1e-5, **a)
    a = old_trees(3, 2, ["BRANCH_LEQ"], "class", 1, False, False, positive=True)
    case("TreeEnsembleClassifier", x, nout=2, classlabels_int64s=[5, 6], by="ort", **a)
    a = old_trees(3, 2, ["BRANCH_LEQ"], "class", 2, True, False, positive=True)
    case("TreeEnsembleClassifier", x, nout=2, classlabels_int64s=[5, 6], base_values=[0.25, 0.5], **a)
    ensemble(x)


def ensemble(x):
    I = np.array
    a = dict(n_targets=2, aggregate_function=1, post_transform=0, nodes_modes=I([0, 4, 1, 3], np.uint8), nodes_featureids=[0, 1, 2, 0],
             nodes_splits=I([0.25, 1, 2, -1], np.float32), nodes_truenodeids=[1, 0, 2, 3], nodes_trueleafs=[0, 1, 1, 1],
             nodes_falsenodeids=[2, 1, 4, 3], nodes_falseleafs=[0, 1, 1, 1], leaf_targetids=[0, 1, 0, 1, 0, 1],
             leaf_weights=I([0.5, 1, 2, -4, 8, 16], np.float32), tree_roots=[0, 3], nodes_missing_value_tracks_true=[0, 1, 0, 1])
    for agg in range(4):
        if agg < 2:
            case("TreeEnsemble", x, opset=5, **dict(a, aggregate_function=agg))
            case("TreeEnsemble", x.astype(np.float64), opset=5, **dict(a, aggregate_function=agg, nodes_splits=a["nodes_splits"].astype(np.float64),
                 leaf_weights=a["leaf_weights"].astype(np.float64)))
    m = dict(a, nodes_modes=I([0, 6, 6, 3], np.uint8), membership_values=I([1, 2, 5, nan, 3, 0, nan], np.float32))
    case("TreeEnsemble", x, opset=5, **m)


for f in (features, labels, maps, linear, svm, trees):
    f()
