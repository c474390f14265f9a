// How TVM's sources register what they offer. A page looks functions up by name. It asks neither for the fields and
// methods of objects nor for the types of a function's arguments as JSON, so those are not registered; in TVM's header
// they are half of the runtime's code.
#ifndef TVM_FFI_REFLECTION_REGISTRY_H_
#define TVM_FFI_REFLECTION_REGISTRY_H_

#include <tvm/ffi/any.h>
#include <tvm/ffi/c_api.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/container/variant.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/function_detail.h>
#include <tvm/ffi/reflection/creator.h>
#include <tvm/ffi/string.h>
#include <tvm/ffi/type_traits.h>

#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace tvm {
namespace ffi {
namespace reflection {
namespace detail {

[[noreturn]] RECURSIVEMAS_OUTLINE inline void WrongArgument(const char* name, int index, const AnyView& value) {
  TVM_FFI_THROW(TypeError) << name << " does not take a value of type " << value.GetTypeKey() << " as argument "
                           << index;
}

RECURSIVEMAS_OUTLINE inline void CheckCount(const char* name, int expected, int given) {
  if (expected != given) {
    TVM_FFI_THROW(TypeError) << name << " takes " << expected << " arguments, not " << given;
  }
}

// One argument, which becomes what the function takes.
struct Argument {
  const char* name;
  int index;
  const AnyView& value;

  template <typename T>
  T As() const {
    if constexpr (std::is_same_v<T, AnyView>) {
      return value;
    } else if constexpr (std::is_same_v<T, Any>) {
      return Any(value);
    } else {
      std::optional<T> converted = value.try_cast<T>();
      if (!converted.has_value()) WrongArgument(name, index, value);
      return *std::move(converted);
    }
  }
};

template <typename T>
using Plain = std::remove_const_t<std::remove_reference_t<T>>;

template <typename Types, typename R, typename F, size_t... I>
void Call(const char* name, const F& function, PackedArgs args, [[maybe_unused]] Any* result,
          std::index_sequence<I...>) {
  CheckCount(name, sizeof...(I), args.size());
  if constexpr (std::is_void_v<R>) {
    function(Argument{name, I, args[I]}.template As<Plain<std::tuple_element_t<I, Types>>>()...);
  } else {
    *result = R(function(Argument{name, I, args[I]}.template As<Plain<std::tuple_element_t<I, Types>>>()...));
  }
}

// A function of typed arguments as one of packed arguments.
template <typename F>
Function Pack(const char* name, F function) {
  using Info = ::tvm::ffi::detail::FunctionInfo<F>;
  using Types = typename Info::ArgType;
  return Function::FromPacked([name, function](PackedArgs args, Any* result) {
    Call<Types, typename Info::RetType>(name, function, args, result,
                                        std::make_index_sequence<std::tuple_size_v<Types>>{});
  });
}

template <typename Class, typename R, typename... Args>
auto Method(R (Class::*function)(Args...)) {
  if constexpr (std::is_base_of_v<ObjectRef, Class>) {
    return [function](Class target, Args... args) -> R { return (target.*function)(std::forward<Args>(args)...); };
  } else {
    return [function](const Class* target, Args... args) -> R {
      return (const_cast<Class*>(target)->*function)(std::forward<Args>(args)...);
    };
  }
}

template <typename Class, typename R, typename... Args>
auto Method(R (Class::*function)(Args...) const) {
  if constexpr (std::is_base_of_v<ObjectRef, Class>) {
    return [function](Class target, Args... args) -> R { return (target.*function)(std::forward<Args>(args)...); };
  } else {
    return [function](const Class* target, Args... args) -> R {
      return (target->*function)(std::forward<Args>(args)...);
    };
  }
}

template <typename F>
auto Method(F function) {
  return function;
}

RECURSIVEMAS_OUTLINE inline void SetGlobal(const char* name, const Function& function) {
  Function::SetGlobal(name, function, false);
}

}  // namespace detail

struct InfoTrait {};
struct Metadata : InfoTrait {
  template <typename... T>
  explicit Metadata(T&&...) {}
};
struct DefaultValue : InfoTrait {
  template <typename T>
  explicit DefaultValue(T&&) {}
};
using default_value = DefaultValue;
struct DefaultFactory : InfoTrait {
  template <typename T>
  explicit DefaultFactory(T&&) {}
};
using default_factory = DefaultFactory;
struct AttachFieldFlag : InfoTrait {
  static AttachFieldFlag SEqHashDefPattern() { return {}; }
  static AttachFieldFlag SEqHashDefSimple() { return {}; }
  static AttachFieldFlag SEqHashIgnore() { return {}; }
};
struct Flag : InfoTrait {
  explicit Flag(bool) {}
};
using repr = Flag;
using compare = Flag;
using hash = Flag;
using kw_only = Flag;

template <typename... Args>
struct init : InfoTrait {
  constexpr init() noexcept = default;
  constexpr explicit init(bool) {}
};
init(bool) -> init<>;

// Functions by name.
class GlobalDef {
 public:
  template <typename F, typename... Extra>
  GlobalDef& def(const char* name, F&& function, Extra&&...) {
    detail::SetGlobal(name, detail::Pack<std::decay_t<F>>(name, std::forward<F>(function)));
    return *this;
  }
  template <typename F, typename... Extra>
  GlobalDef& def_packed(const char* name, F function, Extra&&...) {
    detail::SetGlobal(name, Function::FromPacked(function));
    return *this;
  }
  template <typename F, typename... Extra>
  GlobalDef& def_method(const char* name, F&& function, Extra&&... extra) {
    return def(name, detail::Method(std::forward<F>(function)));
  }
};

// Only the type itself is registered.
template <typename Class>
class ObjectDef {
 public:
  template <typename... Extra>
  explicit ObjectDef(Extra&&...) {
    Class::_GetOrAllocRuntimeTypeIndex();
  }
  template <typename... Ignored>
  ObjectDef& def_ro(Ignored&&...) {
    return *this;
  }
  template <typename... Ignored>
  ObjectDef& def_rw(Ignored&&...) {
    return *this;
  }
  template <typename... Ignored>
  ObjectDef& def(Ignored&&...) {
    return *this;
  }
  template <typename... Ignored>
  ObjectDef& def_static(Ignored&&...) {
    return *this;
  }
  template <typename... Ignored>
  ObjectDef& def_type_attr(Ignored&&...) {
    return *this;
  }
  template <typename Self>
  ObjectDef& def_convert() {
    return *this;
  }
};

template <typename Class>
class TypeAttrDef {
 public:
  template <typename... Extra>
  explicit TypeAttrDef(Extra&&...) {
    Class::_GetOrAllocRuntimeTypeIndex();
  }
  template <typename... Ignored>
  TypeAttrDef& def(Ignored&&...) {
    return *this;
  }
  template <typename... Ignored>
  TypeAttrDef& attr(Ignored&&...) {
    return *this;
  }
  template <typename Self>
  TypeAttrDef& def_convert() {
    return *this;
  }
};

// Maps look for the column, so it must exist.
inline void EnsureTypeAttrColumn(std::string_view name) {
  TVMFFIByteArray bytes = {name.data(), name.size()};
  AnyView nothing(nullptr);
  TVM_FFI_CHECK_SAFE_CALL(TVMFFITypeRegisterAttr(kTVMFFINone, &bytes, reinterpret_cast<const TVMFFIAny*>(&nothing)));
}
template <typename T>
void EnsureTypeAttrColumn(AttrKey<T> key) {
  EnsureTypeAttrColumn(std::string_view(key.name));
}

}  // namespace reflection
}  // namespace ffi
}  // namespace tvm

#endif  // TVM_FFI_REFLECTION_REGISTRY_H_
