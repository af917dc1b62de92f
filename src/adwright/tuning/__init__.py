"""Methods of parameter-efficient tuning.

>>> from adwright.tuning.reparameterised.lora import LoRA
>>> LoRA(rank=4).scale
4.0
"""
