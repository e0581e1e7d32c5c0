"""Following a network with torch.fx, without an image: what it calls, in order."""

import inspect

from torch import fx, nn

__all__ = ["computing_order", "required_arguments", "symbolic_trace"]


def required_arguments(model: nn.Module) -> list[str]:
    """Return the names of the arguments of ``model`` that have no default value."""
    parameters = inspect.signature(model.forward).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [given.name for given in parameters if given.default is given.empty and given.kind not in several]


def symbolic_trace(model: nn.Module, leaves: tuple[type[nn.Module], ...] = ()) -> fx.GraphModule:
    """Trace ``model`` as it is; arguments behind the first that have a default value keep that.

    Modules of torch, and ``leaves``, are not looked into. Raises whatever the model's own code or torch.fx raises.
    """
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    defaults = {given.name: given.default for given in parameters if given.default is not given.empty}

    class Tracer(fx.Tracer):
        """Tracer that knows the leaves."""

        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            """Tell whether a module is called as a whole."""
            return isinstance(m, leaves) or super().is_leaf_module(m, module_qualified_name)

    tracer = Tracer()
    graph = tracer.trace(model, concrete_args=defaults or None)
    return fx.GraphModule(tracer.root, graph, type(model).__name__)


def computing_order(model: nn.Module, kind: type[nn.Module]) -> list[str]:
    """Return the names of the modules of a ``kind`` in the order in which they compute; of a network that cannot be traced, as defined.

    Of a network that can be, modules that do not compute are left out. It should be in evaluation mode.
    """
    names = {module: name for name, module in model.named_modules() if isinstance(module, kind)}
    try:
        calls = [str(node.target) for node in symbolic_trace(model, (kind,)).graph.nodes if node.op == "call_module"]
    except Exception:  # the model's own code, or what torch.fx cannot follow
        return list(names.values())
    modules = [model.get_submodule(call) for call in calls]
    return [names[module] for module in modules if module in names] or list(names.values())
