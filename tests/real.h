#pragma once

#include <mpfr.h>

#include <cmath>
#include <string>
#include <utility>

namespace candor {

// A floating-point number of as many digits as the enclosing Precision asks for, correctly rounded
// (MPFR), with exponents up to 2^62: exp(-1e9) is a number like any other. A wrapper for tests:
// everything the reference solver computes with.
class Real {
 public:
  // Within its scope new numbers have that many decimal digits; of this thread alone.
  class Precision {
   public:
    explicit Precision(int digits) : before_(bits_) {
      bits_ = std::lround(std::ceil(digits * 3.3219280948873626)) + 8;
      mpfr_set_emin(mpfr_get_emin_min());
      mpfr_set_emax(mpfr_get_emax_max());
    }
    ~Precision() { bits_ = before_; }
    Precision(const Precision&) = delete;
    Precision& operator=(const Precision&) = delete;

   private:
    mpfr_prec_t before_;
  };

  Real() {
    mpfr_init2(value_, bits_);
    mpfr_set_zero(value_, 1);
  }
  Real(double value) : Real() { mpfr_set_d(value_, value, MPFR_RNDN); }  // NOLINT: as a literal
  Real(const Real& other) {
    mpfr_init2(value_, bits_);
    mpfr_set(value_, other.value_, MPFR_RNDN);
  }
  Real(Real&& other) noexcept {
    value_[0] = other.value_[0];
    other.value_[0]._mpfr_d = nullptr;
  }
  ~Real() {
    if (value_[0]._mpfr_d != nullptr) mpfr_clear(value_);
  }
  Real& operator=(const Real& other) {
    if (this == &other) return *this;
    Real copy(other);
    std::swap(value_[0], copy.value_[0]);
    return *this;
  }
  Real& operator=(Real&& other) noexcept {
    std::swap(value_[0], other.value_[0]);
    return *this;
  }

  Real& operator+=(const Real& other) { return with(mpfr_add, other); }
  Real& operator-=(const Real& other) { return with(mpfr_sub, other); }
  Real& operator*=(const Real& other) { return with(mpfr_mul, other); }
  Real& operator/=(const Real& other) { return with(mpfr_div, other); }
  friend Real operator+(const Real& a, const Real& b) { return made(mpfr_add, a, b); }
  friend Real operator-(const Real& a, const Real& b) { return made(mpfr_sub, a, b); }
  friend Real operator*(const Real& a, const Real& b) { return made(mpfr_mul, a, b); }
  friend Real operator/(const Real& a, const Real& b) { return made(mpfr_div, a, b); }
  friend Real operator-(const Real& a) { return made(mpfr_neg, a); }
  friend Real exp(const Real& a) { return made(mpfr_exp, a); }
  friend Real log(const Real& a) { return made(mpfr_log, a); }
  friend Real expm1(const Real& a) { return made(mpfr_expm1, a); }
  friend Real log1p(const Real& a) { return made(mpfr_log1p, a); }
  friend Real sqrt(const Real& a) { return made(mpfr_sqrt, a); }
  friend Real abs(const Real& a) { return made(mpfr_abs, a); }
  friend Real pow(const Real& a, const Real& b) { return made(mpfr_pow, a, b); }

  friend bool operator<(const Real& a, const Real& b) { return mpfr_less_p(a.value_, b.value_); }
  friend bool operator>(const Real& a, const Real& b) { return b < a; }
  friend bool operator<=(const Real& a, const Real& b) {
    return mpfr_lessequal_p(a.value_, b.value_);
  }
  friend bool operator>=(const Real& a, const Real& b) { return b <= a; }
  friend bool operator==(const Real& a, const Real& b) { return mpfr_equal_p(a.value_, b.value_); }

  [[nodiscard]] bool is_finite() const { return mpfr_number_p(value_) != 0; }
  [[nodiscard]] double to_double() const { return mpfr_get_d(value_, MPFR_RNDN); }
  [[nodiscard]] mpfr_srcptr raw() const { return value_; }
  [[nodiscard]] mpfr_ptr raw() { return value_; }
  // 1.2345e-678 with that many digits.
  [[nodiscard]] std::string text(int digits) const {
    char* out = nullptr;
    mpfr_asprintf(&out, "%.*Re", digits - 1, value_);
    std::string result(out);
    mpfr_free_str(out);
    return result;
  }

 private:
  template <typename Operation>
  Real& with(Operation operation, const Real& other) {
    operation(value_, value_, other.value_, MPFR_RNDN);
    return *this;
  }
  template <typename Operation>
  static Real made(Operation operation, const Real& a) {
    Real out;
    operation(out.value_, a.value_, MPFR_RNDN);
    return out;
  }
  template <typename Operation>
  static Real made(Operation operation, const Real& a, const Real& b) {
    Real out;
    operation(out.value_, a.value_, b.value_, MPFR_RNDN);
    return out;
  }

  static inline thread_local mpfr_prec_t bits_ = 256;
  mpfr_t value_;
};

inline const Real& max(const Real& a, const Real& b) { return a < b ? b : a; }
inline const Real& min(const Real& a, const Real& b) { return b < a ? b : a; }
// 10^exponent.
inline Real power_of_ten(long exponent) {
  Real out;
  mpfr_ui_pow_ui(out.raw(), 10, static_cast<unsigned long>(std::labs(exponent)), MPFR_RNDN);
  return exponent < 0 ? Real(1) / out : out;
}

}  // namespace candor
