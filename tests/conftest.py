"""Two logical CPU devices, so that every test can ask for two replicas."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest
import tensorflow as tf

_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def _float32():
    """A test that changes the precision does not change it for the next one."""
    yield
    keras.config.set_dtype_policy("float32")
