"""A scikit-learn model, `model.skops`, as a model of Triton's Python backend.

Loading constructs no type but those that skops trusts by itself and the classes that scikit-learn defines; any other
is refused by its name. Among the latter are the trees of its histogram gradient boosting, which skops leaves to its
callers, because made-up ones can crash the process that asks them: here that is this model's own.

Where the operator allowed pickles the file may be one (`model.pkl`, `model.joblib`), which runs whatever its author
wrote into it; then `layout.py` placed it here, and it would not have otherwise.

Inputs: one input is the table X, each row a row of it. Several inputs are its columns, in the signature's order. A
model that was fitted on named columns gets them by name where pandas is installed; one that begins with a vectorizer
of texts gets its only column as a list of texts.

Outputs: one that is called as a method (`predict`, `predict_proba`, `predict_log_proba`, `decision_function`,
`transform`, `score_samples`) is what that method gives. Of others, one of a floating datatype with as many columns as
the model has classes, two at least, is `predict_proba`, any other `predict`.

Placed as `model.py` beside `rows.py`, which says how batches are merged and split.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from .rows import Array, RowsModel, texts

_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform", "score_samples")
_SUFFIXES = (".skops", ".pkl", ".pickle", ".joblib")


class TritonPythonModel(RowsModel):
    """The class that Triton's stub looks for."""

    def load(self, folder: Path) -> None:
        """Loads the model, and finds out what each output is."""
        [file] = [folder / f"model{suffix}" for suffix in _SUFFIXES if (folder / f"model{suffix}").is_file()]
        self._model = trusted(file) if file.suffix == ".skops" else joblib.load(file)
        self._named = [str(name) for name in getattr(self._model, "feature_names_in_", ())]
        first = self._model.steps[0][1] if hasattr(self._model, "steps") else self._model
        self._takes_texts = hasattr(first, "build_analyzer")
        self._methods = [self._method(name, dtype) for name, dtype in self.outputs]

    def run(self, inputs: list[Array]) -> Sequence[Array]:
        """Each method once, whichever outputs are made of it."""
        table = self._table([texts(rows) for rows in inputs])
        # In threads, for a process of joblib's would be one that Triton does not know of.
        with joblib.parallel_config(backend="threading", n_jobs=self.threads):
            found = {method: _dense(getattr(self._model, method)(table)) for method in dict.fromkeys(self._methods)}
        return [found[method] for method in self._methods]

    def _method(self, name: str, dtype: np.dtype[Any]) -> str:
        method = name if name in _METHODS else self._told(name, dtype)
        if not hasattr(self._model, method):
            raise ValueError(f"the output {name} is {method}, and a {type(self._model).__name__} has no such method")
        return method

    def _told(self, name: str, dtype: np.dtype[Any]) -> str:
        """The method of an output that is called otherwise."""
        classes = getattr(self._model, "classes_", ())
        per_class = len(classes) > 1 and self.widths[name] == [len(classes)]
        return "predict_proba" if per_class and dtype.kind == "f" else "predict"

    def _table(self, inputs: list[Array]) -> Any:  # noqa: ANN401 - a DataFrame or an array
        table = _joined(inputs)
        if self._takes_texts and table.shape[1] == 1:
            return table[:, 0]
        if not self._named or importlib.util.find_spec("pandas") is None:
            return table
        pandas = importlib.import_module("pandas")
        if set(self.inputs) == set(self._named):
            columns = {name: rows.reshape(len(rows)) for name, rows in zip(self.inputs, inputs, strict=True)}
            return pandas.DataFrame(columns)[self._named]
        return pandas.DataFrame(table, columns=self._named)


def trusted(file: Path) -> Any:  # noqa: ANN401 - an estimator of any class
    """The model in the file.

    Raises:
        ValueError: it needs a type that is not trusted; the message names it.
    """
    ours = [name for name in skops.io.get_untrusted_types(file=file) if _is_class_of_sklearn(name)]
    try:
        return skops.io.load(file, trusted=ours)
    except UntrustedTypesFoundException as error:
        stray = [name for name in skops.io.get_untrusted_types(file=file) if name not in ours]
        raise ValueError(f"{file.name} needs types that are not trusted: {', '.join(stray) or error}") from error


def _is_class_of_sklearn(name: str) -> bool:
    """Whether scikit-learn itself defines a class of that name.

    A name that begins with 'sklearn.' is not enough: its modules import functions of others, subprocess's too.
    """
    module, _, attribute = name.rpartition(".")
    if module.partition(".")[0] != "sklearn":
        return False
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception:  # noqa: BLE001 - whatever the import of a name from a file runs into, the name is not trusted
        return False
    return isinstance(found, type) and found.__module__.partition(".")[0] == "sklearn"


def _joined(inputs: list[Array]) -> Array:
    """One table [n, columns]; of mixed datatypes where some are texts."""
    columns = [rows.reshape(len(rows), -1) for rows in inputs]
    if any(rows.dtype == np.object_ for rows in columns):
        columns = [rows.astype(np.object_) for rows in columns]
    return np.concatenate(columns, axis=1)


def _dense(found: Any) -> Array:  # noqa: ANN401 - an array, perhaps a sparse one
    return np.asarray(found.toarray() if hasattr(found, "toarray") else found)
